// The peer port: the connections from and to other nodes, and who they are. Messages of those that have introduced
// themselves, and are who the cluster knows, go to a Sink.
//
// Promises:
// - Nothing that a node says is looked at before its introduction, nor if the cluster knows an incarnation of it that
//   its disk has never seen (see core/peer/introduction.hpp).
// - A node that learns that its own disk is older than what the cluster knows of it stops.
#pragma once
#include <memory>

#include "core/base/stream_handler.hpp"
#include "core/control/control_plane.hpp"
#include "core/peer/links.hpp"

namespace sd {

class Peers final : public StreamHandler, private Links::Transport {
 public:
  class Sink {
   public:
    virtual void on_message(Time now, const peer::Hello& from, peer::Message&& message, StreamEffects& fx) = 0;

   protected:
    ~Sink() = default;
  };

  // `control` may be made later than this, but before it is used.
  Peers(Sink& sink, StreamTable& streams, control::Identity& identity, control::ControlPlane& control,
        peer::Outbox& outbox, BufferPool& pool, const Endpoint& advertised, std::size_t ahead, Time lease)
      : sink_(sink),
        streams_(streams),
        identity_(identity),
        control_(control),
        outbox_(outbox),
        pool_(pool),
        advertised_(advertised),
        links_(pool, *this, ahead, lease) {}

  // --- Connections that others made

  void open(StreamId stream, StreamEffects& fx) override;
  std::span<std::byte> receive_buffer(StreamId stream) override;
  void on_received(Time now, StreamId stream, std::size_t bytes, StreamEffects& fx) override;
  OutQueue* output(StreamId stream) override;
  void on_drained(Time, StreamId, StreamEffects&) override {}
  void on_closed(Time now, StreamId stream, StreamEffects& fx) override;
  // Those who introduced themselves before the cluster state said who they are.
  void turn_away_old_disks(Time now);
  // This node is known there by that incarnation.
  void on_known_incarnation(Time now, Incarnation incarnation, const Endpoint& from, StreamEffects& fx);

  // --- Connections that this node made

  void on_dialed(Time now, StreamId stream, DialResult result, StreamEffects& fx);
  void flush_outbox(Time now, StreamEffects& fx);
  void drop_stuck(Time now, StreamEffects& fx) { links_for(fx).drop_stuck(now); }
  void introduce_anew(Time now, StreamEffects& fx) { links_for(fx).introduce_anew(now); }
  Links& links() { return links_; }

  std::size_t connected() const { return in_.size(); }
  const std::string& fatal() const { return fatal_; }  // why this node has to stop; empty if it has not
  std::string check_state() const { return links_.check_state(); }

 private:
  struct Dialled {
    Endpoint to;
    std::unique_ptr<InLink> in;  // nothing is ever said on it, but its end must be noticed
  };

  StreamId dial(const Endpoint& to) override;
  void close(StreamId stream) override;
  void has_output(StreamId stream) override;
  void hello(Incarnation asked_for, std::string& out) const override;
  void log(std::string text) override;

  Links& links_for(StreamEffects& fx) {
    fx_ = &fx;
    return links_;
  }
  // False: the connection is closed.
  bool introduce(Time now, StreamId stream, InLink& in, const peer::Hello* hello, StreamEffects& fx);
  void turn_away(Time now, InLink& in, const peer::Hello& hello);
  void drop(StreamId stream, StreamEffects& fx);

  Sink& sink_;
  StreamTable& streams_;
  control::Identity& identity_;
  control::ControlPlane& control_;
  peer::Outbox& outbox_;
  BufferPool& pool_;
  const Endpoint advertised_;
  Links links_;
  std::map<StreamId, InLink> in_;
  std::map<StreamId, Dialled> out_;
  StreamEffects* fx_ = nullptr;  // of the call of `links_` under way
  std::string fatal_;
};

}  // namespace sd
