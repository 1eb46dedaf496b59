// Whoever speaks on byte streams: fronts to clients, the peer port to other nodes. A machine; the driver does the I/O.
#pragma once
#include <map>
#include <span>
#include <vector>

#include "core/base/ids.hpp"
#include "core/base/log_line.hpp"
#include "core/base/out_queue.hpp"
#include "core/base/time.hpp"

namespace sd {

struct StreamEffects {
  struct Dial {
    StreamId stream = 0;
    Endpoint to;
  };
  std::vector<Dial> dial;
  std::vector<StreamId> output;  // has something to send
  std::vector<StreamId> close;   // after its queued output was sent, or at once if that takes long
  std::vector<StreamId> resume;  // receive_buffer is no longer empty
  std::vector<LogLine> log;
};

class StreamHandler {
 public:
  virtual void open(StreamId stream, StreamEffects& fx) = 0;
  // Where the next bytes of the stream go. Empty: do not read until `resume` names it.
  virtual std::span<std::byte> receive_buffer(StreamId stream) = 0;
  virtual void on_received(Time now, StreamId stream, std::size_t bytes, StreamEffects& fx) = 0;
  virtual OutQueue* output(StreamId stream) = 0;  // null: nothing is ever sent on it
  virtual void on_drained(Time now, StreamId stream, StreamEffects& fx) = 0;
  virtual void on_closed(Time now, StreamId stream, StreamEffects& fx) = 0;  // forgets it

 protected:
  ~StreamHandler() = default;
};

// The open streams of a node, and who speaks on each.
class StreamTable {
 public:
  StreamId add(StreamHandler& handler) {
    handlers_.emplace(next_, &handler);
    return next_++;
  }
  void erase(StreamId stream) { handlers_.erase(stream); }
  StreamHandler* find(StreamId stream) const {
    const auto at = handlers_.find(stream);
    return at == handlers_.end() ? nullptr : at->second;
  }
  std::size_t size() const { return handlers_.size(); }

 private:
  std::map<StreamId, StreamHandler*> handlers_;
  StreamId next_ = 1;
};

}  // namespace sd
