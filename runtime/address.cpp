#include "runtime/address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>

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

std::expected<Endpoint, std::string> parse_address(std::string_view text, std::optional<std::uint16_t> default_port) {
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

std::optional<Endpoint> first_own_address(std::uint16_t port) {
  ifaddrs* interfaces = nullptr;
  if (::getifaddrs(&interfaces) != 0) return std::nullopt;
  std::optional<Endpoint> best;
  for (const ifaddrs* i = interfaces; i; i = i->ifa_next) {
    if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK)) continue;
    auto endpoint = from_socket_address(*i->ifa_addr);
    if (!endpoint) continue;
    const bool link_local = !endpoint->is_v4() && endpoint->address[0] == 0xfe && (endpoint->address[1] & 0xc0) == 0x80;
    if (link_local) continue;  // useless without naming the interface
    endpoint->port = port;
    if (!best || (!best->is_v4() && endpoint->is_v4())) best = endpoint;
  }
  ::freeifaddrs(interfaces);
  return best;
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
