// Names of hosts and ports as people write them, and socket addresses as the kernel wants them.
#pragma once
#include <sys/socket.h>

#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/ids.hpp"

namespace sd::runtime {

// "10.0.0.1:7000", "[fe80::1]:7000", "host.example:7000"; without ":port" if there is a default. Names are resolved,
// IPv4 first. The error is a sentence for the user.
std::expected<Endpoint, std::string> parse_address(std::string_view text, std::optional<std::uint16_t> default_port);

// The first address of this machine that is not a loopback address, IPv4 before IPv6; none if there is none.
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
