#include "core/raft/refusal.hpp"

#include <algorithm>

#include "core/raft/raft.hpp"

namespace sd::raft {
namespace {

std::string_view why_impossible(const Entry& e, Term before, const Message& m, const Options& options) {
  if (e.term < std::max<Term>(before, 1) || e.term > m.term) return "an entry is of a term that cannot stand there";
  switch (e.kind) {
    case Entry::Kind::noop: return e.data.empty() ? "" : "an entry without a command has data";
    case Entry::Kind::config: return config_from(e.data) ? "" : "an entry holds no configuration that can be read";
    case Entry::Kind::command: break;
  }
  if (options.readable_command && !options.readable_command(e.data)) return "an entry holds a command that is unknown";
  return {};
}

// What the message says by itself.
std::string_view why_impossible(const Message& m, const Options& options) {
  if (m.log_term > m.term) return "its log is of a later term than its sender";
  if (m.type == Message::Type::append) {
    if ((m.index == 0) != (m.log_term == 0)) return "only the beginning of a log has no term";
    Term term = m.log_term;
    Index index = m.index;
    for (const Entry& e : m.entries) {
      if (e.index != ++index) return "its entries do not follow each other";
      if (const auto why = why_impossible(e, term, m, options); !why.empty()) return why;
      term = e.term;
    }
  } else if (m.type == Message::Type::snapshot) {
    if (m.index == 0 || m.log_term == 0 || m.config.empty()) return "its snapshot replaces nothing";
    if (m.snapshot_size > max_snapshot || m.snapshot_offset > m.snapshot_size ||
        m.snapshot.size() > m.snapshot_size - m.snapshot_offset)
      return "a part of its snapshot lies outside of it";
  }
  return {};
}

// Whether a leader's log can have an entry of this term at this index, by what this node knows to be committed.
bool agrees(const Raft& node, Index index, Term term) {
  if (index < node.snapshot_index()) return term <= node.term_at(node.snapshot_index());
  if (index <= node.commit_index()) return term == node.term_at(index);
  return term >= node.term_at(node.commit_index());
}

bool agrees_with_what_is_committed(const Message& m, const Raft& node) {
  return agrees(node, m.index, m.log_term) &&
         std::ranges::all_of(m.entries, [&](const Entry& e) { return agrees(node, e.index, e.term); });
}

}  // namespace

std::string_view why_refused(const Message& m, const Raft& node) {
  if (node.term() > 0 && m.term > node.term() && m.term - node.term() > max_term_jump)
    return "its term is far beyond that of this group";
  if (const auto why = why_impossible(m, node.options()); !why.empty()) return why;
  if ((m.type != Message::Type::append && m.type != Message::Type::snapshot) || m.term < node.term()) return {};
  if (m.term == node.term() && node.leader() != 0 && node.leader() != m.from) return "another node leads its term";
  if (!agrees_with_what_is_committed(m, node)) return "it contradicts what is committed";
  return {};
}

}  // namespace sd::raft
