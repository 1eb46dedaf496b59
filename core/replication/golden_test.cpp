// The verdict of peering in words: core/replication/testdata/*.txt.
//
//   periods 10: a b c ; 20: b c       epochs by the log index that began them, with the acting members of the object
//   restarted 10: b                   since that epoch
//   given_up 10: a
//   a 10.0/7                          an answer: log index . round / sequence; "nothing", "incomplete 10.0/3"
//   damaged a ; bad_sources b ; self a ; needed 2 ; created 20 ; patience over
//   judge
//
// All but the answers stays from one judgement of a file to the next.
#include "core/base/golden_test.hpp"
#include "core/base/sim_bug.hpp"
#include "core/replication/verdict.hpp"

namespace sd::replication {
namespace {

NodeId node(const std::string& name) { return static_cast<NodeId>(name[0] - 'a' + 1); }
std::string name(NodeId id) { return std::string(1, static_cast<char>('a' + static_cast<char>(id) - 1)); }

Version version(const std::string& text) {
  std::uint64_t index = 0, round = 0, sequence = 0;
  char dot = 0, slash = 0;
  std::istringstream(text) >> index >> dot >> round >> slash >> sequence;
  return {Version::generation_of(index, static_cast<std::uint32_t>(round)), sequence};
}
std::string text(Version v) {
  if (v == Version{}) return "nothing";
  return std::to_string(v.log_index()) + "." + std::to_string(v.round()) + "/" + std::to_string(v.sequence);
}
std::string text(const ActingSet& set) {
  std::string names;
  for (const NodeId id : set) names += (names.empty() ? "" : " ") + name(id);
  return names.empty() ? "nobody" : names;
}

std::string text(const Verdict& v) {
  switch (v.outcome) {
    case Verdict::Outcome::no_whole_copy: return "waits for a whole copy";
    case Verdict::Outcome::waits_for_members: return "waits for members that may hold newer data";
    case Verdict::Outcome::given_up: return "fails: every copy was given up";
    case Verdict::Outcome::decided: break;
  }
  return text(v.winner) + " wins, from " + (v.source == 0 ? "nobody" : name(v.source)) +
         (v.only_damaged ? ", which is damaged too" : "") + "; made equal: " + text(v.laggards) +
         (v.dropped ? "; a newer version is dropped" : "") + (v.final ? "" : "; to be written down");
}

class Interpreter {
 public:
  std::string run(const std::vector<std::string>& lines) {
    q_.answers.clear();
    for (const std::string& line : lines) {
      const auto words = words_of(line);
      if (words[0] == "judge") {
        if (!q_.periods.empty()) q_.acting = q_.periods.back().acting;
        return text(judge(q_));
      }
      take(words);
    }
    return "no judgement asked for";
  }

 private:
  static ActingSet members(const std::vector<std::string>& words, std::size_t from) {
    ActingSet set;
    for (std::size_t i = from; i < words.size(); ++i) set.push_back(node(words[i]));
    return set;
  }
  Period& period(const std::string& word) {
    return *std::ranges::find(q_.periods, std::stoull(word), &Period::log_index);
  }
  void take(const std::vector<std::string>& words) {
    const std::string& what = words[0];
    if (what == "periods") {
      q_.periods.clear();
      for (std::size_t i = 1; i < words.size(); ++i) {
        if (words[i].ends_with(":"))
          q_.periods.push_back({std::stoull(words[i]), {}, {}, {}});
        else if (words[i] != ";")
          q_.periods.back().acting.push_back(node(words[i]));
      }
    } else if (what == "restarted") {
      period(words[1]).restarted = members(words, 2);
    } else if (what == "given_up") {
      period(words[1]).given_up = members(words, 2);
    } else if (what == "damaged") {
      q_.damaged = members(words, 1);
    } else if (what == "bad_sources") {
      q_.bad_sources = members(words, 1);
    } else if (what == "self") {
      q_.self = node(words[1]);
    } else if (what == "needed") {
      q_.needed = std::stoull(words[1]);
    } else if (what == "created") {
      q_.created_index = std::stoull(words[1]);
    } else if (what == "patience") {
      q_.patience_over = words[1] == "over";
    } else {
      const bool incomplete = words[1] == "incomplete";
      const std::string& held = words[incomplete ? 2 : 1];
      q_.answers.push_back({node(what), held == "nothing" ? Version{} : version(held), incomplete});
    }
  }

  Question q_;
};

TEST(Verdict, GoldenFiles) {
  run_golden(std::string(SD_SOURCE_DIR) + "/core/replication/testdata", 6, [] {
    auto interpreter = std::make_shared<Interpreter>();
    return GoldenCommand([interpreter](const auto& lines) { return interpreter->run(lines); });
  });
}

#ifdef SD_SIM_BUGS
// The planted bugs of the verdict that runs of whole clusters hardly reach change what it says here.
TEST(Verdict, PlantedBugsAreNoticed) {
  const auto says = [](SimBug bug, std::vector<std::string> lines) {
    planted_bug = bug;
    std::string said = Interpreter().run(lines);
    planted_bug = SimBug::count;
    return said;
  };
  const std::vector<std::string> held_by_one = {"periods 10: a b ; 20: a b", "restarted 10: a", "a 10.0/8", "b 10.0/7",
                                                "judge"};
  EXPECT_NE(says(SimBug::keep_unacknowledged, held_by_one), says(SimBug::count, held_by_one));
  const std::vector<std::string> lacked_outside = {"periods 10: b c ; 20: c d", "c 10.0/7", "b 10.0/6", "d nothing",
                                                   "judge"};
  EXPECT_NE(says(SimBug::adopt_unwritten, lacked_outside), says(SimBug::count, lacked_outside));
  const std::vector<std::string> restarted = {"periods 10: a b ; 20: b", "restarted 10: b", "b 10.0/5", "judge"};
  EXPECT_NE(says(SimBug::forget_incarnation, restarted), says(SimBug::count, restarted));
}
#endif

}  // namespace
}  // namespace sd::replication
