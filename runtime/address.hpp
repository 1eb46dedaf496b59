// Names of hosts and ports as people write them, and socket addresses as the kernel wants them.
#pragma once
#include <sys/socket.h>

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/ids.hpp"

namespace sd::runtime {

struct HostPort {
  std::string host;  // a name or an address
  std::uint16_t port = 0;
};

// "10.0.0.1:7000", "[fe80::1]:7000", "host.example:7000"; without ":port" if there is a default. The error, here and
// below, is a sentence for the user.
std::expected<HostPort, std::string> split_address(std::string_view text, std::optional<std::uint16_t> default_port);
// IPv4 before IPv6. May take seconds if the host is a name.
std::expected<Endpoint, std::string> resolve_address(const HostPort& name);
std::expected<Endpoint, std::string> parse_address(std::string_view text, std::optional<std::uint16_t> default_port);

struct OwnAddress {
  std::string interface;
  Endpoint endpoint;  // without a port
};
// Of the interfaces that are up, in the system's order; none that only this machine or this cable can reach (loopback,
// link-local).
std::vector<OwnAddress> own_addresses();
// Bridges and tunnels to virtual machines and containers, by their usual names: other machines do not reach them, and
// often have the same address themselves.
bool is_virtual_interface(std::string_view name);

// At which of `own` others reach this node. IPv4 before IPv6, none of virtual interfaces; if several are left, or only
// virtual ones, the error lists them. With no address at all it is 127.0.0.1, unless the node `has_seeds`: those are
// on other machines.
std::expected<OwnAddress, std::string> guess_address(const std::vector<OwnAddress>& own, std::uint16_t port,
                                                     bool has_seeds);

// The first address of this machine that guess_address would consider; none if there is none.
std::optional<Endpoint> first_own_address(std::uint16_t port);

bool is_loopback(const Endpoint& endpoint);
// The failure zone of a node that is given none: the low four bytes of its address, since nodes on one machine fail
// together. On the loopback address, where all nodes would coincide and nothing but tests runs, the port tells them
// apart.
std::uint32_t default_zone(const Endpoint& endpoint);

bool is_unspecified(const Endpoint& endpoint);  // 0.0.0.0 or ::

// Fills `out`; returns the size in use. IPv4 addresses become AF_INET.
socklen_t to_socket_address(const Endpoint& endpoint, sockaddr_storage& out);
std::optional<Endpoint> from_socket_address(const sockaddr& address);

}  // namespace sd::runtime
