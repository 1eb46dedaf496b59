#include "runtime/address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace sd::runtime {

std::optional<Endpoint> from_socket_address(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, &address, sizeof in);
    const std::uint32_t a = ntohl(in.sin_addr.s_addr);
    return Endpoint::v4(static_cast<std::uint8_t>(a >> 24), static_cast<std::uint8_t>(a >> 16),
                        static_cast<std::uint8_t>(a >> 8), static_cast<std::uint8_t>(a), ntohs(in.sin_port));
  }
  if (address.sa_family == AF_INET6) {
    sockaddr_in6 in;
    std::memcpy(&in, &address, sizeof in);
    Endpoint endpoint;
    std::memcpy(endpoint.address.data(), &in.sin6_addr, 16);
    endpoint.port = ntohs(in.sin6_port);
    return endpoint;
  }
  return std::nullopt;
}

socklen_t to_socket_address(const Endpoint& endpoint, sockaddr_storage& out) {
  std::memset(&out, 0, sizeof out);
  if (endpoint.is_v4()) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(endpoint.port);
    std::memcpy(&in.sin_addr, endpoint.address.data() + 12, 4);
    std::memcpy(&out, &in, sizeof in);
    return sizeof in;
  }
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_port = htons(endpoint.port);
  std::memcpy(&in.sin6_addr, endpoint.address.data(), 16);
  std::memcpy(&out, &in, sizeof in);
  return sizeof in;
}

std::expected<HostPort, std::string> split_address(std::string_view text, std::optional<std::uint16_t> default_port) {
  std::string host;
  std::string_view port_text;
  bool has_port = false;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    const auto rest = end == text.npos ? std::string_view{} : text.substr(end + 1);
    if (end == text.npos || (!rest.empty() && rest.front() != ':'))
      return std::unexpected(fmt::format("'{}' is not an address: write [IPv6]:PORT", text));
    host = text.substr(1, end - 1);
    has_port = !rest.empty();
    port_text = has_port ? rest.substr(1) : rest;
  } else {
    const auto colon = text.rfind(':');
    const bool bare_v6 = colon != text.npos && text.find(':') != colon;
    has_port = colon != text.npos && !bare_v6;
    host = text.substr(0, has_port ? colon : text.npos);
    if (has_port) port_text = text.substr(colon + 1);
  }
  std::uint16_t port = default_port.value_or(0);
  if (has_port) {
    const auto [end, error] = std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
    if (error != std::errc() || end != port_text.data() + port_text.size() || port == 0)
      return std::unexpected(
          fmt::format("'{}' has no valid port: give a number from 1 to 65535 after the colon", text));
  } else if (!default_port) {
    return std::unexpected(fmt::format("'{}' names no port: write HOST:PORT", text));
  }
  if (host.empty()) return std::unexpected(fmt::format("'{}' names no host: write HOST:PORT", text));
  return HostPort{std::move(host), port};
}

std::expected<Endpoint, std::string> resolve_address(const HostPort& name) {
  const auto& [host, port] = name;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found); error != 0)
    return std::unexpected(fmt::format("cannot resolve the address {}: {}", host, ::gai_strerror(error)));
  std::optional<Endpoint> best;
  for (const addrinfo* a = found; a; a = a->ai_next) {
    const auto endpoint = from_socket_address(*a->ai_addr);
    if (endpoint && (!best || (!best->is_v4() && endpoint->is_v4()))) best = endpoint;
  }
  ::freeaddrinfo(found);
  if (!best) return std::unexpected(fmt::format("{} has no IP address", host));
  best->port = port;
  return *best;
}

std::expected<Endpoint, std::string> parse_address(std::string_view text, std::optional<std::uint16_t> default_port) {
  const auto name = split_address(text, default_port);
  if (!name) return std::unexpected(name.error());
  return resolve_address(*name);
}

std::vector<OwnAddress> own_addresses() {
  ifaddrs* interfaces = nullptr;
  if (::getifaddrs(&interfaces) != 0) return {};
  std::vector<OwnAddress> found;
  for (const ifaddrs* i = interfaces; i; i = i->ifa_next) {
    if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK)) continue;
    auto endpoint = from_socket_address(*i->ifa_addr);
    if (!endpoint) continue;
    const auto& a = endpoint->address;
    const bool link_local = endpoint->is_v4() ? a[12] == 169 && a[13] == 254 : a[0] == 0xfe && (a[1] & 0xc0) == 0x80;
    if (link_local) continue;
    endpoint->port = 0;
    found.push_back({i->ifa_name, *endpoint});
  }
  ::freeifaddrs(interfaces);
  return found;
}

bool is_virtual_interface(std::string_view name) {
  static constexpr std::array<std::string_view, 14> prefixes = {
      "virbr", "vnet", "docker", "veth", "br-", "cni", "flannel", "cali", "lxc", "lxd", "podman", "tap", "tun", "wg"};
  return std::ranges::any_of(prefixes, [&](std::string_view prefix) { return name.starts_with(prefix); });
}

namespace {

// Those of real interfaces, of one family.
std::vector<OwnAddress> candidates(const std::vector<OwnAddress>& own) {
  std::vector<OwnAddress> v4, v6;
  for (const OwnAddress& address : own)
    if (!is_virtual_interface(address.interface)) (address.endpoint.is_v4() ? v4 : v6).push_back(address);
  return v4.empty() ? v6 : v4;
}

std::string list_of(const std::vector<OwnAddress>& addresses) {
  std::string list;
  for (const auto& [interface, endpoint] : addresses) {
    const std::string text = to_string(endpoint);
    list += fmt::format("{}{} ({})", list.empty() ? "" : ", ", text.substr(0, text.rfind(':')), interface);
  }
  return list;
}

}  // namespace

std::expected<OwnAddress, std::string> guess_address(const std::vector<OwnAddress>& own, std::uint16_t port,
                                                     bool has_seeds) {
  auto found = candidates(own);
  if (found.size() > 1)
    return std::unexpected(
        fmt::format("this machine has several addresses: {}; name the one at which other nodes and "
                    "clients reach it with --advertise",
                    list_of(found)));
  if (found.empty() && !own.empty())
    return std::unexpected(
        fmt::format("this machine has addresses of virtual interfaces only: {}; name the one at "
                    "which other nodes and clients reach it with --advertise",
                    list_of(own)));
  if (found.empty() && has_seeds)
    return std::unexpected(
        std::string("this machine has no address at which nodes on other machines could reach it: "
                    "bring its network up, or name one with --advertise"));
  if (found.empty()) found.push_back({"lo", Endpoint::v4(127, 0, 0, 1, 0)});
  found.front().endpoint.port = port;
  return found.front();
}

std::optional<Endpoint> first_own_address(std::uint16_t port) {
  const auto found = candidates(own_addresses());
  if (found.empty()) return std::nullopt;
  Endpoint endpoint = found.front().endpoint;
  endpoint.port = port;
  return endpoint;
}

bool is_loopback(const Endpoint& endpoint) {
  if (endpoint.is_v4()) return endpoint.address[12] == 127;
  Endpoint loopback;
  loopback.address[15] = 1;
  return endpoint.address == loopback.address;
}

std::uint32_t default_zone(const Endpoint& endpoint) {
  std::uint32_t zone = 0;
  for (std::size_t i = 12; i < 16; ++i) zone = zone << 8 | endpoint.address[i];
  return is_loopback(endpoint) ? zone + endpoint.port : zone;
}

bool is_unspecified(const Endpoint& endpoint) {
  if (endpoint.is_v4())
    return endpoint.address[12] == 0 && endpoint.address[13] == 0 && endpoint.address[14] == 0 &&
           endpoint.address[15] == 0;
  return endpoint.address == Endpoint{}.address;
}

}  // namespace sd::runtime
