// NBD: each disk of the cluster is an export. A client that connects while the cluster cannot say which disks there are
// waits for that, 15 s at most.
#pragma once
#include <map>
#include <string>

#include "core/front/front.hpp"
#include "core/nbd/session.hpp"

namespace sd::front {

class NbdFront final : public Front {
 public:
  NbdFront(Host& host, BufferPool& pool, const nbd::SessionOptions& options)
      : host_(host), pool_(pool), options_(options) {}

  void open(StreamId stream, StreamEffects& fx) override;
  std::span<std::byte> receive_buffer(StreamId stream) override;
  void on_received(Time now, StreamId stream, std::size_t bytes, StreamEffects& fx) override;
  OutQueue* output(StreamId stream) override;
  void on_drained(Time now, StreamId stream, StreamEffects& fx) override;
  void on_closed(Time now, StreamId stream, StreamEffects& fx) override;
  void on_io(Time now, const Ticket& ticket, IoDone&& done, StreamEffects& fx) override;
  void tick(Time now, StreamEffects& fx) override;
  void stop(Time now, StreamEffects& fx) override;

  std::size_t connections() const { return connections_.size(); }
  bool waits() const { return !resolving_.empty(); }  // somebody does, for what the node knows

 private:
  struct Connection {
    Connection(const nbd::SessionOptions& options, BufferPool& pool) : session(options, pool) {}
    nbd::Session session;
    bool stalled = false;      // the driver was given an empty buffer
    std::string wanted;        // the export that is being looked up ...
    Time wanted_deadline = 0;  // ... until then; 0: none
  };

  void carry_out(Time now, StreamId stream, Connection& connection, nbd::Effects& nfx, StreamEffects& fx);
  void submit(StreamId stream, nbd::Request&& request, nbd::Session& session, nbd::Effects& nfx);
  std::vector<std::string> exports() const;
  std::expected<nbd::ExportInfo, Status> find(const std::string& name) const;
  void resolve(Time now, StreamId stream, Connection& connection, StreamEffects& fx);

  Host& host_;
  BufferPool& pool_;
  const nbd::SessionOptions options_;
  std::map<StreamId, Connection> connections_;
  std::vector<StreamId> resolving_;  // those whose export is being looked up
  nbd::Effects scratch_;
};

}  // namespace sd::front
