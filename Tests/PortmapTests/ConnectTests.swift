import Foundation
import Testing

@testable import portmap

/// The program on connect(2), its entries, and what plans say of them.
@Suite struct ConnectTests {
  private func listing(_ hook: ConnectHook) -> [String] {
    ConnectProgram(hook: hook).instructions.map(\.description)
  }

  @Test func theProgramOfIPv4() {
    #expect(
      listing(.v4) == [
        "r6 = r1",
        // TCP to 127.0.0.0/8.
        "r1 = *(u32 *)(r6 + 36)",
        "if r1 != 6 goto out",
        "r9 = *(u32 *)(r6 + 4)",
        "r1 = r9",
        "r1 = be32 r1",
        "r1 >>= 24",
        "if r1 != 127 goto out",
        "r8 = 65535",
        "r8 = be32 r8",
        // Neither bound to a device nor to 127.0.0.0/8.
        "r7 = *(u64 *)(r6 + 64)",
        "r1 = *(u32 *)(r7 + 0)",
        "if r1 != 0 goto out",
        "r1 = *(u32 *)(r7 + 24)",
        "r1 = be32 r1",
        "r1 >>= 24",
        "if r1 == 127 goto out",
      ] + Self.keyAndValue + [
        "r1 = *(u32 *)(r9 + 12)",
        "*(u32 *)(r6 + 4) = r1",
        "*(u32 *)(r6 + 24) = r2",
        "out:",
        "r0 = 1",
        "exit",
      ]
    )
  }

  @Test func theProgramOfIPv6() {
    #expect(
      listing(.v6) == [
        "r6 = r1",
        "r1 = *(u32 *)(r6 + 36)",
        "if r1 != 6 goto out",
        // To ::1 or ::ffff:127.0.0.0/104.
        "r8 = *(u32 *)(r6 + 16)",
        "r9 = *(u32 *)(r6 + 20)",
        "r1 = *(u32 *)(r6 + 8)",
        "r2 = *(u32 *)(r6 + 12)",
        "r1 |= r2",
        "if r1 != 0 goto out",
        "r1 = *(u32 *)(r6 + 16)",
        "r1 = be32 r1",
        "r2 = *(u32 *)(r6 + 20)",
        "r2 = be32 r2",
        "if r1 == 65535 goto wanted IPv4",
        "if r1 != 0 goto out",
        "if r2 == 1 goto bound?",
        "goto out",
        "wanted IPv4:",
        "r2 >>= 24",
        "if r2 != 127 goto out",
        "goto bound?",
        "bound?:",
        // Not bound to a device, nor to one of the same addresses.
        "r7 = *(u64 *)(r6 + 64)",
        "r1 = *(u32 *)(r7 + 0)",
        "if r1 != 0 goto out",
        "r1 = *(u32 *)(r7 + 28)",
        "r2 = *(u32 *)(r7 + 32)",
        "r1 |= r2",
        "if r1 != 0 goto key",
        "r1 = *(u32 *)(r7 + 36)",
        "r1 = be32 r1",
        "r2 = *(u32 *)(r7 + 40)",
        "r2 = be32 r2",
        "if r1 == 65535 goto bound IPv4",
        "if r1 != 0 goto key",
        "if r2 == 1 goto out",
        "goto key",
        "bound IPv4:",
        "r2 >>= 24",
        "if r2 != 127 goto key",
        "goto out",
      ] + Self.keyAndValue + [
        "r1 = *(u32 *)(r9 + 0)",
        "*(u32 *)(r6 + 8) = r1",
        "r1 = *(u32 *)(r9 + 4)",
        "*(u32 *)(r6 + 12) = r1",
        "r1 = *(u32 *)(r9 + 8)",
        "*(u32 *)(r6 + 16) = r1",
        "r1 = *(u32 *)(r9 + 12)",
        "*(u32 *)(r6 + 20) = r1",
        "*(u32 *)(r6 + 24) = r2",
        "out:",
        "r0 = 1",
        "exit",
      ]
    )
  }

  private static let keyAndValue = [
    "key:",
    "r1 = r6",
    "call bpf_get_netns_cookie",
    "*(u64 *)(r10 - 32) = r0",
    "*(u64 *)(r10 - 24) = 0",
    "*(u32 *)(r10 - 16) = r8",
    "*(u32 *)(r10 - 12) = r9",
    "r1 = *(u32 *)(r6 + 24)",
    "*(u32 *)(r10 - 8) = r1",
    "*(u32 *)(r10 - 4) = 6",
    // This address.
    "r1 = map entries",
    "r2 = r10",
    "r2 += -32",
    "call bpf_map_lookup_elem",
    "if r0 != 0 goto found",
    // Or every address.
    "*(u32 *)(r10 - 12) = 0",
    "r1 = map entries",
    "r2 = r10",
    "r2 += -32",
    "call bpf_map_lookup_elem",
    "if r0 == 0 goto out",
    "found:",
    // Port 0 leaves it alone.
    "r2 = *(u32 *)(r0 + 24)",
    "if r2 == 0 goto out",
    "r9 = r0",
    "r1 = 1",
    "lock *(u64 *)(r9 + 16) += r1",
    // The port stays with the socket.
    "r1 = map sockets",
    "r2 = r7",
    "r3 = 0",
    "r4 = 1",
    "call bpf_sk_storage_get",
    "if r0 == 0 goto lead",
    "r1 = *(u32 *)(r10 - 8)",
    "*(u64 *)(r0 + 0) = r1",
    "lead:",
    "r2 = *(u32 *)(r9 + 24)",
  ]

  /// struct bpf_insn of the kernel's own documentation: operation, registers, offset, number.
  @Test func theKernelsCoding() {
    let program: [Instruction] = [
      .loadMap(.r1, .sockets), .jumpIf(.r0, .equal, 0, to: "end"), .load(.r9, .u32, from: .r6, at: 4),
      .addAtomically(to: .r0, at: 16, .r1), .fromNetworkOrder(.r1), .call(.namespaceCookie), .label("end"),
      .exit,
    ]
    let bytes = Instruction.assemble(program, maps: [.sockets: 7]).map { word in
      withUnsafeBytes(of: word) { $0.map { String($0, radix: 16) }.joined(separator: " ") }
    }
    #expect(
      bytes == [
        "18 11 0 0 7 0 0 0", "0 0 0 0 0 0 0 0", "15 0 4 0 0 0 0 0", "61 69 4 0 0 0 0 0", "db 10 10 0 0 0 0 0",
        "dc 1 0 0 20 0 0 0", "85 0 0 0 7a 0 0 0", "95 0 0 0 0 0 0 0",
      ]
    )
  }

  /// Other versions of portmap find these entries: another layout takes another name of the map.
  @Test func theLayoutOfEntries() throws {
    #expect(MemoryLayout<ConnectKey>.stride == 32 && MemoryLayout<ConnectValue>.stride == 40)
    let key = ConnectKey(namespace: 0x0102_0304_0506_0708, try Samples.address("127.0.0.2"), 8080)
    #expect(
      withUnsafeBytes(of: key) { Array($0) } == [8, 7, 6, 5, 4, 3, 2, 1] + [UInt8](repeating: 0, count: 10)
        + [0xFF, 0xFF, 127, 0, 0, 2, 0x1F, 0x90, 0, 0, 6, 0, 0, 0]
    )
    #expect(key.ports == ConnectPorts(try Samples.address("127.0.0.2"), try #require(PortRange("8080"))))
    let value = ConnectValue(try Samples.address("fd00::2"), 80, owner: 0x0100_00AB, inode: 9)
    #expect(
      withUnsafeBytes(of: value) { Array($0) } == [0xFD] + [UInt8](repeating: 0, count: 14) + [2]
        + [UInt8](repeating: 0, count: 8) + [0, 80, 0, 0, 0xAB, 0, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0]
    )
  }

  @Test func anEntryAPort() throws {
    let owner = ConnectOwner(namespace: 5, inode: 9, tag: "3fa9c1")
    var mapping = try Samples.mapping("a0000001", "8000-8002:90-92")
    #expect(mapping.connectRoute == nil)
    mapping.delivery.connect = true
    let route = try #require(mapping.connectRoute)
    let entries = owner.entries(of: [route])
    #expect(entries.count == 3 && Set(owner.keys(of: [route.ports])) == Set(entries.keys))
    let key = ConnectKey(namespace: 5, .anyV4, 8001)
    let value = try #require(entries[key])
    #expect(value == ConnectValue(try Samples.address("10.0.0.2"), 91, owner: 0x013F_A9C1, inode: 9))
    #expect(owner.made(key, value))
    // No tag is the first version's; it is not 000000.
    #expect(ConnectOwner(namespace: 5, inode: 9, tag: "").number == 0)
    #expect(ConnectOwner(namespace: 5, inode: 9, tag: "000000").number == 1 << 24)
  }

  @Test(arguments: [
    ("8080:80", "10.0.0.2", "0.0.0.0 8080 8080"), ("8080:80", "fd00::2", ":: 8080 8080"),
    ("0.0.0.0:8000-8010:80-90", "10.0.0.2", "0.0.0.0 8000 8010"), ("[::]:8080:80", "fd00::2", ":: 8080 8080"),
    // The other family, one address, another transport: the proxy's.
    ("0.0.0.0:8080:80", "fd00::2", nil), ("[::]:8080:80", "10.0.0.2", nil),
    ("192.0.2.1:8080:80", "10.0.0.2", nil),
    ("127.0.0.2:8080:80", "10.0.0.2", nil), ("[::1]:8080:80", "fd00::2", nil),
    ("8080:80/udp", "10.0.0.2", nil),
    ("8080:80/sctp", "10.0.0.2", nil),
  ])
  func whatIsLed(_ spec: String, _ backend: String, _ ports: String?) throws {
    var wanted = Wanted(holder: "c0000001")
    wanted.mappings = [try Samples.mapping("a0000001", spec, to: backend)]
    var host = Samples.host
    let empty = State(netnsCookie: 1, bootID: "boot")
    let without = try Plan.making(wanted, in: empty, on: host)
    #expect(without.making.connections.isEmpty && !without.next.mappings[0].delivery.connect)
    host.connects = true
    let plan = try Plan.making(wanted, in: empty, on: host)
    #expect(plan.making.connections.map(\.ports.text) == (ports.map { [$0] } ?? []))
    #expect(plan.next.mappings[0].delivery.connect == (ports != nil))
    #expect(plan.making.undoing(variant: nil).connections.map(\.text) == (ports.map { [$0] } ?? []))
    let release = Plan.releasing(plan.next.everything, from: plan.next)
    #expect(release.removal.connections == plan.making.connections.map(\.ports))
    // What the proxy alone, or no proxy, is asked for.
    wanted.mappings = [try Samples.mapping("a0000001", spec, to: backend, proxy: false)]
    if wanted.mappings[0].delivery.nat {
      #expect(try Plan.making(wanted, in: empty, on: host).making.connections.isEmpty)
    }
  }

  @Test func theRecordsWord() throws {
    var record = try Samples.record("a0000001", "8080:80")
    record.mapping.delivery.connect = true
    #expect(
      record.text.hasPrefix(
        "a0000001 tcp * 8080 8080 10.0.0.2 80 80 c0000001 0 active nat connect proxy|4 nat"
      )
    )
    #expect(MappingRecord(text: record.text) == record)
    #expect(ConnectPorts(text: "0.0.0.0 8010 8000") == nil && ConnectPorts(text: "0.0.0.0 8000") == nil)
  }

  @Test func mountsAreRead() throws {
    let mount = try #require(
      Mount(
        line:
          "41 31 0:38 / /a\\040b rw,relatime shared:1 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot"
      )
    )
    #expect(mount.path == "/a b" && mount.type == "cgroup2")
    #expect(mount.options == ["rw", "nsdelegate", "memory_recursiveprot"])
    #expect(Mount(line: "41 31 0:38 / /a rw,relatime") == nil)
  }
}
