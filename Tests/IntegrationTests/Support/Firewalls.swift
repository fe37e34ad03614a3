import Foundation
import Testing

/// What must hold whatever firewall is in the way.
///
/// The guest `web` serves ports 80 and 81 of both of its addresses, `other` port 80 of its IPv4 address, the host
/// port 7000, and the outside port 9000: each tcp and udp, and nothing of it is mapped yet. Bridged packets do not pass
/// through iptables, so that no port of the guests' bridge needs hairpin mode.
func withServers(_ body: (Topology) throws -> Void) throws {
  typealias Address = Topology.Address
  try withTopology { topology in
    try topology.setBridgeNetfilter(false)
    try topology.web.serveBoth(Address.web, "80-81", name: "web")
    try topology.web.serveBoth(Address.web6, "80-81", name: "web")
    try topology.other.serveBoth(Address.other, "80", name: "other")
    try topology.host.serveBoth("::", "7000", name: "host")
    try topology.outside.serveBoth(Address.outside, "9000", name: "outside")
    try body(topology)
  }
}

extension Topology {
  /// Maps 8080 to the IPv4 address of `web` and 8086 to its IPv6 address.
  func mapWeb(at location: SourceLocation = #_sourceLocation) throws {
    try portmap("map", "8080:80/tcp+udp", "--to", Address.web, at: location)
    try portmap("map", "8086:80/tcp+udp", "--to", Address.web6, at: location)
  }

  func unmapWeb(at location: SourceLocation = #_sourceLocation) throws {
    try portmap("unmap", "8080", "8080/udp", "8086", "8086/udp", at: location)
  }

  /// What `mapWeb` has mapped answers where rules lead to it, with the client's own address seen, and on loopback.
  func expectForwarded(at location: SourceLocation = #_sourceLocation) throws {
    for transport in Transport.allCases {
      for (client, address, port, peer) in [
        (outside, Address.host, 8080, Address.outside), (outside, Address.host6, 8086, Address.outside6),
        (host, Address.host, 8080, nil), (host, Address.host6, 8086, nil),
        (host, "127.0.0.1", 8080, Address.bridge),
        (host, "::1", 8086, Address.bridge6), (other, Address.host, 8080, Address.bridge),
        (other, Address.bridge6, 8086, Address.bridge6), (web, Address.host, 8080, Address.bridge),
      ] {
        try expect(client, transport, address, port, seenAs: peer, at: location)
      }
    }
  }

  /// So does what its proxy serves to the outside: the other family.
  func expectProxied(at location: SourceLocation = #_sourceLocation) throws {
    for transport in Transport.allCases {
      try expect(outside, transport, Address.host6, 8080, seenAs: Address.bridge, at: location)
      try expect(outside, transport, Address.host, 8086, seenAs: Address.bridge6, at: location)
    }
  }

  private func expect(
    _ client: Namespace,
    _ transport: Transport,
    _ address: String,
    _ port: Int,
    seenAs peer: String?,
    at location: SourceLocation
  ) throws {
    let answer = try client.ask(transport, address, port)
    #expect(
      answer.name == "web" && (peer == nil || answer.peer == peer),
      "\(transport) to \(address) \(port): \(answer)",
      sourceLocation: location
    )
  }

  /// The outside gets no answer from what is not mapped: a port of the host's own, and the guest's addresses.
  func expectShut(
    _ ends: [(String, Int)] = [
      (Address.host, 7000), (Address.host6, 7000), (Address.web, 80), (Address.web, 81), (Address.web6, 81),
    ],
    at location: SourceLocation = #_sourceLocation
  ) throws {
    for transport in Transport.allCases {
      for (address, port) in ends {
        let answer = try outside.ask(transport, address, port, timeout: 0.2)
        #expect(answer.isUnanswered, "\(answer)", sourceLocation: location)
      }
    }
  }

  /// A guest on portmap's own bridge that serves port 80, mapped as 8090.
  func mappedGuest(at location: SourceLocation = #_sourceLocation) throws -> Guest {
    let guest = try Namespace("p", cleanup)
    let ip = try portmap("alloc", "--netns", guest.name, at: location).lines[0]
    try guest.serveBoth(ip, "80", name: "guest")
    try portmap("map", "8090:80/tcp+udp", "--to", guest.name, at: location)
    return Guest(namespace: guest, ip: ip)
  }

  struct Guest {
    let namespace: Namespace
    let ip: String
  }

  /// The guest is reached through its mapping and not directly.
  func expectMapped(_ guest: Guest, at location: SourceLocation = #_sourceLocation) throws {
    for transport in Transport.allCases {
      for (client, address, peer) in [
        (outside, Address.host, Address.outside), (web, Address.bridge, Address.web),
        (guest.namespace, Address.host, nil), (host, "127.0.0.1", nil),
      ] {
        let answer = try client.ask(transport, address, 8090)
        #expect(
          answer.name == "guest" && (peer == nil || answer.peer == peer),
          "\(transport) to \(address): \(answer)",
          sourceLocation: location
        )
      }
    }
    try expectShut([(guest.ip, 80)], at: location)
  }

  /// Whether the guest gets an answer from outside, to which it shows the host's address.
  func expectReachesOut(
    _ guest: Guest,
    _ reaches: Bool = true,
    at location: SourceLocation = #_sourceLocation
  ) throws {
    for transport in Transport.allCases {
      let answer = try guest.namespace.ask(transport, Address.outside, 9000, timeout: reaches ? 2 : 0.2)
      #expect(
        reaches ? answer.name == "outside" && answer.peer == Address.host : answer.isUnanswered,
        "\(answer)",
        sourceLocation: location
      )
    }
  }
}
