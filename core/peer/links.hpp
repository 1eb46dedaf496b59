// The connections on which this node speaks: one to each address that it has something to say to, dialled when there is
// something to be said.
//
// Promises:
// - A message is queued in order behind those of its class (see OutLink), or dropped: while the address cannot be
//   reached, and when too much is queued. Whoever sends repeats what matters.
// - Each connection begins with a Hello.
// - A connection that takes nothing for longer than a lease is as good as none, whatever its other end is (half-open,
//   stopped, cut off): it is dropped. A new one may get through, and what is queued is too old to matter.
// - An address is dialled again after a pause that grows to a second; sooner if the process there is known to be gone
//   or may be.
// - Only so many addresses are known: others may say anything about where nodes are. Those that nothing was sent to for
//   the longest time go first.
#pragma once
#include <map>
#include <string>

#include "core/base/dial_result.hpp"
#include "core/peer/link.hpp"

namespace sd {

class Links {
 public:
  // What carries the connections.
  class Transport {
   public:
    // Begins to dial; the outcome is told by on_dialed, once.
    virtual StreamId dial(const Endpoint& to) = 0;
    // Of this one nothing more will be told.
    virtual void close(StreamId stream) = 0;
    // There is something to be sent on it.
    virtual void has_output(StreamId stream) = 0;
    // Appends this node's introduction. `asked_for`: the incarnation of this node by which it is known there; 0: none
    // in particular.
    virtual void hello(Incarnation asked_for, std::string& out) const = 0;
    virtual void log(std::string text) = 0;  // for who looks for the cause of something

   protected:
    ~Transport() = default;
  };

  // `ahead`: bytes of bulk that are committed to a connection; `lease`: see above.
  Links(BufferPool& pool, Transport& transport, std::size_t ahead, Time lease)
      : pool_(pool), transport_(transport), ahead_(ahead), lease_(lease) {}

  void send(Time now, const Endpoint& to, const peer::Message& message);
  // The outcome of a dial. True if nobody listens there any more.
  bool on_dialed(Time now, const Endpoint& to, StreamId stream, DialResult result);
  // The other end has closed it. Finds out at once whether the process there is gone.
  void on_closed(Time now, const Endpoint& to, StreamId stream, bool may_probe);
  // What is to be sent on this stream; null if it is not the address's connection any more.
  OutQueue* output(const Endpoint& to, StreamId stream);
  // A connection from there has just ended: dials out of turn, to find out whether the process is gone. Not too often:
  // connections may also end because the other side does not want them.
  void probe(Time now, const Endpoint& to);
  void drop_stuck(Time now);

  // This node is known there by another incarnation: the connection begins again with an introduction that names it.
  // False if it was named already, or nothing was ever sent there.
  bool show(Time now, const Endpoint& to, Incarnation asked_for);
  // Every connection begins again with an introduction; `asked_for` as above, if not 0.
  void introduce_anew(Time now, Incarnation asked_for = 0);
  // The last dial was answered: nobody listens there.
  bool refused(const Endpoint& to) const;
  // What was noticed long ago says nothing about now.
  void forget_refusals_before(Time time);
  bool up(const Endpoint& to) const;
  std::size_t size() const { return links_.size(); }

  // Names an invariant that does not hold; empty if all do.
  std::string check_state() const;

 private:
  void dial(Time now, const Endpoint& to, OutLink& link);
  void lost(Time now, OutLink& link);
  void begin_again(Time now, OutLink& link);
  OutLink* find(const Endpoint& to);
  const OutLink* find(const Endpoint& to) const;
  // Null if there is no place for it.
  OutLink* get(const Endpoint& to);

  BufferPool& pool_;
  Transport& transport_;
  const std::size_t ahead_;
  const Time lease_;
  std::map<Endpoint, OutLink> links_;
  Time looked_at_ = 0;  // for stuck ones
  std::string encoded_;
};

}  // namespace sd
