// Bytes of commands and of the state. Little-endian, every count bounded; the same state always gives the same bytes.
#include "core/base/ids_codec.hpp"
#include "core/cluster/state.hpp"

namespace sd::cluster {

namespace {

constexpr std::uint8_t state_format = 3;
constexpr std::size_t max_outcomes = 64;

void put(Writer& w, const Member& m) {
  w.u64(m.id);
  w.u64(m.incarnation);
  put(w, m.address);
  w.u32(m.zone);
  w.u16(m.vnodes);
  w.boolean(m.witness);
  w.boolean(m.up);
  w.boolean(m.placed);
  w.boolean(m.draining);
  w.boolean(m.left);
}
Member read_member(Reader& r) {
  Member m;
  m.id = r.u64();
  m.incarnation = r.u64();
  get(r, m.address);
  m.zone = r.u32();
  m.vnodes = r.u16();
  m.witness = r.boolean();
  m.up = r.boolean();
  m.placed = r.boolean();
  m.draining = r.boolean();
  m.left = r.boolean();
  return m;
}

struct BodyWriter {
  Writer& w;
  void operator()(const Format& b) {
    w.u64(b.uuid);
    w.u8(b.copies);
    w.boolean(b.force);
  }
  void operator()(const Join& b) {
    put(w, b.member);
    w.u64(b.follows);
  }
  void operator()(const Remove& b) {
    w.u64(b.id);
    w.u64(b.incarnation);
    w.boolean(b.leave);
    w.u32(static_cast<std::uint32_t>(b.with.size()));
    for (const auto& [id, incarnation] : b.with) {
      w.u64(id);
      w.u64(incarnation);
    }
  }
  void operator()(const CreateVdi& b) {
    w.string(b.name);
    w.u64(b.size);
    w.u8(b.copies);
  }
  void operator()(const DeleteVdi& b) { w.u32(b.vid); }
  void operator()(const PurgeVdi& b) { w.u32(b.vid); }
  void operator()(const ResizeVdi& b) {
    w.u32(b.vid);
    w.u64(b.size);
  }
  void operator()(const TakeOwnership& b) {
    w.u32(b.vid);
    w.u64(b.node);
    w.u64(b.incarnation);
    w.u64(b.expected_owner_index);
  }
  void operator()(const MarkClean& b) { w.u32(b.epoch); }
  void operator()(const Shutdown&) {}
  void operator()(const SetThrottle& b) {
    w.u64(b.rates.busy);
    w.u64(b.rates.idle);
  }
  void operator()(const SetGrace& b) { w.u32(b.milliseconds); }
  void operator()(const Expel& b) {
    w.u64(b.id);
    w.u64(b.incarnation);
  }
  void operator()(const Drain& b) {
    w.u64(b.id);
    w.boolean(b.on);
  }
  void operator()(const GiveUp&) {}
  void operator()(const SwitchRecovery& b) { w.boolean(b.enabled); }
  void operator()(const Forget& b) {
    w.u64(b.id);
    w.u64(b.incarnation);
  }
};

// The variant's index is the wire value, so alternatives are only ever appended.
std::optional<CommandBody> body(Reader& r, std::uint8_t kind) {
  switch (kind) {
    case 0: {
      Format b;
      b.uuid = r.u64();
      b.copies = r.u8();
      b.force = r.boolean();
      return b;
    }
    case 1: {
      Join b;
      b.member = read_member(r);
      b.follows = r.u64();
      return b;
    }
    case 2: {
      Remove b;
      b.id = r.u64();
      b.incarnation = r.u64();
      b.leave = r.boolean();
      for (auto n = r.count(limits::max_members); n > 0 && !r.failed(); --n) {
        const NodeId id = r.u64();
        b.with.emplace_back(id, r.u64());
      }
      return b;
    }
    case 3: {
      CreateVdi b;
      b.name = r.string(limits::max_command);
      b.size = r.u64();
      b.copies = r.u8();
      return b;
    }
    case 4: return DeleteVdi{r.u32()};
    case 5: return PurgeVdi{r.u32()};
    case 6: {
      ResizeVdi b;
      b.vid = r.u32();
      b.size = r.u64();
      return b;
    }
    case 7: {
      TakeOwnership b;
      b.vid = r.u32();
      b.node = r.u64();
      b.incarnation = r.u64();
      b.expected_owner_index = r.u64();
      return b;
    }
    case 8: return MarkClean{r.u32()};
    case 9: return Shutdown{};
    case 10: {
      SetThrottle b;
      b.rates.busy = r.u64();
      b.rates.idle = r.u64();
      return b;
    }
    case 11: return SetGrace{r.u32()};
    case 12: {
      Expel b;
      b.id = r.u64();
      b.incarnation = r.u64();
      return b;
    }
    case 13: {
      Drain b;
      b.id = r.u64();
      b.on = r.boolean();
      return b;
    }
    case 14: return GiveUp{};
    case 15: return SwitchRecovery{r.boolean()};
    case 16: {
      Forget b;
      b.id = r.u64();
      b.incarnation = r.u64();
      return b;
    }
    default: return {};
  }
}

}  // namespace

void encode(const Command& command, std::string& out) {
  Writer w(out);
  w.u8(static_cast<std::uint8_t>(command.body.index()));
  w.u64(command.proposer);
  w.u64(command.proposer_incarnation);
  w.u64(command.number);
  std::visit(BodyWriter{w}, command.body);
}

std::optional<Command> decode_command(std::string_view bytes) {
  Reader r(bytes);
  Command command;
  const auto kind = r.u8();
  command.proposer = r.u64();
  command.proposer_incarnation = r.u64();
  command.number = r.u64();
  auto decoded = body(r, kind);
  if (!decoded || !r.complete()) return {};
  command.body = std::move(*decoded);
  return command;
}

void State::encode(std::string& out) const {
  Writer w(out);
  w.u8(state_format);
  w.boolean(formatted);
  w.boolean(shut_down);
  w.boolean(recovery_off);
  w.u64(uuid);
  w.u64(replaced_group);
  w.u8(copies);
  w.u32(grace_ms);
  w.u64(recovery_rates.busy);
  w.u64(recovery_rates.idle);
  w.u64(applied);
  w.u32(static_cast<std::uint32_t>(members.size()));
  for (const auto& [id, m] : members) put(w, m);
  w.u32(static_cast<std::uint32_t>(epochs.size()));
  for (const auto& e : epochs) {
    w.u32(e.epoch);
    w.u64(e.log_index);
    w.u32(static_cast<std::uint32_t>(e.members.size()));
    for (const auto& m : e.members) {
      w.u64(m.id);
      w.u64(m.incarnation);
      w.u32(m.zone);
      w.u16(m.vnodes);
      w.boolean(m.up);
      w.boolean(m.given_up);
    }
  }
  w.u32(static_cast<std::uint32_t>(vdis.size()));
  for (const auto& [vid, v] : vdis) {
    w.u32(v.vid);
    w.string(v.name);
    w.u64(v.size);
    w.u8(v.copies);
    w.u64(v.created_index);
    w.u64(v.owner);
    w.u64(v.owner_index);
    w.boolean(v.deleting);
  }
  w.u32(static_cast<std::uint32_t>(proposers_.size()));
  for (const auto& [id, p] : proposers_) {
    w.u64(id);
    w.u64(p.incarnation);
    w.u32(static_cast<std::uint32_t>(p.outcomes.size()));
    for (const auto& o : p.outcomes) {
      w.u64(o.number);
      w.u8(static_cast<std::uint8_t>(o.result.status));
      w.u32(o.result.vid);
    }
  }
}

std::optional<State> State::decode(std::string_view bytes) {
  Reader r(bytes);
  State s;
  if (r.u8() != state_format) return {};
  s.formatted = r.boolean();
  s.shut_down = r.boolean();
  s.recovery_off = r.boolean();
  s.uuid = r.u64();
  s.replaced_group = r.u64();
  s.copies = r.u8();
  s.grace_ms = r.u32();
  s.recovery_rates.busy = r.u64();
  s.recovery_rates.idle = r.u64();
  s.applied = r.u64();
  for (auto n = r.count(limits::max_members); n > 0 && !r.failed(); --n) {
    Member m = read_member(r);
    s.members[m.id] = m;
  }
  for (auto n = r.count(limits::max_epochs); n > 0 && !r.failed(); --n) {
    EpochRecord e;
    e.epoch = r.u32();
    e.log_index = r.u64();
    for (auto k = r.count(limits::max_members); k > 0 && !r.failed(); --k) {
      RingMember m;
      m.id = r.u64();
      m.incarnation = r.u64();
      m.zone = r.u32();
      m.vnodes = r.u16();
      m.up = r.boolean();
      m.given_up = r.boolean();
      e.members.push_back(m);
    }
    s.epochs.push_back(std::move(e));
  }
  for (auto n = r.count(limits::max_vdis); n > 0 && !r.failed(); --n) {
    Vdi v;
    v.vid = r.u32();
    v.name = r.string(limits::max_vdi_name);
    v.size = r.u64();
    v.copies = r.u8();
    v.created_index = r.u64();
    v.owner = r.u64();
    v.owner_index = r.u64();
    v.deleting = r.boolean();
    s.vdis[v.vid] = std::move(v);
  }
  for (auto n = r.count(limits::max_proposers); n > 0 && !r.failed(); --n) {
    const auto id = r.u64();
    Proposer p;
    p.incarnation = r.u64();
    for (auto k = r.count(max_outcomes); k > 0 && !r.failed(); --k) {
      Outcome o;
      o.number = r.u64();
      o.result.status = static_cast<Status>(r.u8());
      o.result.vid = r.u32();
      p.outcomes.push_back(o);
    }
    s.proposers_[id] = std::move(p);
  }
  if (!r.complete()) return {};
  // The first member begins the first epoch, and none is ever taken from behind.
  if (s.epochs.empty() && (s.formatted || !s.members.empty() || !s.vdis.empty())) return {};
  for (std::size_t i = 1; i < s.epochs.size(); ++i)
    if (s.epochs[i].epoch <= s.epochs[i - 1].epoch || s.epochs[i].log_index < s.epochs[i - 1].log_index) return {};
  return s;
}

}  // namespace sd::cluster
