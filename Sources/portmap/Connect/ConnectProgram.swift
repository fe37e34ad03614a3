import CLinux
import Glibc

/// The program on connect(2), one for each family of sockets.
///
/// Theory of operation. The kernel runs it before a socket of the host connects, with the address and port that it
/// wants. A TCP socket that wants a loopback address, and has not bound itself to one or to a device, is looked up by
/// its network namespace, the address and the port; then by "every address" in the place of the address. What is found
/// takes the place of the address and port wanted; it counts the connection, and the socket is marked with the port that
/// it wanted, by which the connection is found when that is unmapped. In every other case the connection goes where it
/// wants to: the program never refuses one.
///
/// A socket that is bound to loopback could not reach a backend, and one that is bound to a device shall use that.
/// IPv4 addresses in IPv6 form count as the IPv4 addresses that they are, so an IPv6 socket that wants ::ffff:127.0.0.1
/// finds what an IPv4 socket finds.
struct ConnectProgram {
  let hook: ConnectHook

  /// Counts the programs: a later one takes the place of an earlier one whose map it can use.
  static let revision = 1

  /// What the names of the programs begin with; the revision is the rest.
  var prefix: String { hook == .v4 ? "portmap4_r" : "portmap6_r" }
  var name: String { "\(prefix)\(Self.revision)" }

  /// The revision of a program of this hook by its name; nil for programs of others.
  func revision(of name: String) -> Int? {
    name.hasPrefix(prefix) ? Int(name.dropFirst(prefix.count)) : nil
  }

  var instructions: [Instruction] {
    [
      .copy(.r6, .r1),
      .load(.r1, .u32, from: .r6, at: Context.transport),
      .jumpIf(.r1, .unequal, IPPROTO_TCP.number, to: "out"),
    ] + (hook == .v4 ? Self.wantsLoopback4 + Self.isNotBound4 : Self.wantsLoopback6 + Self.isNotBound6)
      + Self.key + Self.lookUp + Self.mark + (hook == .v4 ? Self.rewrite4 : Self.rewrite6) + [
        .label("out"),
        .set(.r0, 1),
        .exit,
      ]
  }

  // MARK: the address that is wanted, in r8 and r9 as in the last 8 bytes of a key's

  private static let wantsLoopback4: [Instruction] = [
    .load(.r9, .u32, from: .r6, at: Context.address4),
    .copy(.r1, .r9),
    .fromNetworkOrder(.r1),
    .shiftRight(.r1, 24),
    .jumpIf(.r1, .unequal, 127, to: "out"),
    .set(.r8, 0xFFFF),
    .fromNetworkOrder(.r8),
  ]

  private static let wantsLoopback6: [Instruction] =
    [
      .load(.r8, .u32, from: .r6, at: Context.address6 + 8),
      .load(.r9, .u32, from: .r6, at: Context.address6 + 12),
    ] + isLoopback6(.r6, at: Context.address6, yes: "bound?", no: "out", "wanted ") + [.label("bound?")]

  /// Goes to one of two places, depending on whether 16 bytes are ::1 or within ::ffff:127.0.0.0/104.
  private static func isLoopback6(
    _ base: Instruction.Register,
    at offset: Int,
    yes: String,
    no: String,
    _ name: String
  ) -> [Instruction] {
    [
      .load(.r1, .u32, from: base, at: offset),
      .load(.r2, .u32, from: base, at: offset + 4),
      .or(.r1, .r2),
      .jumpIf(.r1, .unequal, 0, to: no),
      .load(.r1, .u32, from: base, at: offset + 8),
      .fromNetworkOrder(.r1),
      .load(.r2, .u32, from: base, at: offset + 12),
      .fromNetworkOrder(.r2),
      .jumpIf(.r1, .equal, 0xFFFF, to: "\(name)IPv4"),
      .jumpIf(.r1, .unequal, 0, to: no),
      .jumpIf(.r2, .equal, 1, to: yes),
      .jump(to: no),
      .label("\(name)IPv4"),
      .shiftRight(.r2, 24),
      .jumpIf(.r2, .unequal, 127, to: no),
      .jump(to: yes),
    ]
  }

  // MARK: the socket

  private static let isWithoutDevice: [Instruction] = [
    .load(.r7, .u64, from: .r6, at: Context.socket),
    .load(.r1, .u32, from: .r7, at: Context.boundDevice),
    .jumpIf(.r1, .unequal, 0, to: "out"),
  ]

  private static let isNotBound4: [Instruction] =
    isWithoutDevice + [
      .load(.r1, .u32, from: .r7, at: Context.boundAddress4),
      .fromNetworkOrder(.r1),
      .shiftRight(.r1, 24),
      .jumpIf(.r1, .equal, 127, to: "out"),
    ]

  private static let isNotBound6: [Instruction] =
    isWithoutDevice + isLoopback6(.r7, at: Context.boundAddress6, yes: "out", no: "key", "bound ")

  // MARK: the map

  /// Puts a key on the stack.
  private static let key: [Instruction] = [
    .label("key"),
    .copy(.r1, .r6),
    .call(.namespaceCookie),
    .store(.u64, to: .r10, at: Key.namespace, .r0),
    .storeNumber(.u64, to: .r10, at: Key.address, 0),
    .store(.u32, to: .r10, at: Key.address + 8, .r8),
    .store(.u32, to: .r10, at: Key.address + 12, .r9),
    .load(.r1, .u32, from: .r6, at: Context.port),
    .store(.u32, to: .r10, at: Key.port, .r1),
    .storeNumber(.u32, to: .r10, at: Key.transport, IPPROTO_TCP.number),
  ]

  /// Finds the value of the address, or else that of every address, and puts it into r9.
  private static let lookUp: [Instruction] =
    ask + [
      .jumpIf(.r0, .unequal, 0, to: "found"),
      .storeNumber(.u32, to: .r10, at: Key.address + 12, 0),
    ] + ask + [
      .jumpIf(.r0, .equal, 0, to: "out"),
      .label("found"),
      .load(.r2, .u32, from: .r0, at: Value.port),
      .jumpIf(.r2, .equal, 0, to: "out"),
      .copy(.r9, .r0),
      .set(.r1, 1),
      .addAtomically(to: .r9, at: Value.count, .r1),
    ]

  /// Keeps the port that was wanted with the socket, where there is memory for it.
  private static let mark: [Instruction] = [
    .loadMap(.r1, .sockets),
    .copy(.r2, .r7),
    .set(.r3, 0),
    .set(.r4, BPF_SK_STORAGE_GET_F_CREATE.number),
    .call(.socketStorage),
    .jumpIf(.r0, .equal, 0, to: "lead"),
    .load(.r1, .u32, from: .r10, at: Key.port),
    .store(.u64, to: .r0, at: 0, .r1),
    .label("lead"),
    .load(.r2, .u32, from: .r9, at: Value.port),
  ]

  private static let ask: [Instruction] = [
    .loadMap(.r1, .entries),
    .copy(.r2, .r10),
    .add(.r2, Int32(Key.start)),
    .call(.mapLookup),
  ]

  // MARK: the backend

  private static let rewrite4: [Instruction] = [
    .load(.r1, .u32, from: .r9, at: Value.backend + 12),
    .store(.u32, to: .r6, at: Context.address4, .r1),
    .store(.u32, to: .r6, at: Context.port, .r2),
  ]

  private static let rewrite6: [Instruction] =
    [0, 4, 8, 12].flatMap { part -> [Instruction] in
      [
        .load(.r1, .u32, from: .r9, at: Value.backend + part),
        .store(.u32, to: .r6, at: Context.address6 + part, .r1),
      ]
    } + [.store(.u32, to: .r6, at: Context.port, .r2)]

  // MARK: where things are

  /// struct bpf_sock_addr, and struct bpf_sock behind it.
  private enum Context {
    static let address4 = Int(clinux_sock_addr_user_ip4)
    static let address6 = Int(clinux_sock_addr_user_ip6)
    static let port = Int(clinux_sock_addr_user_port)
    static let transport = Int(clinux_sock_addr_protocol)
    static let socket = Int(clinux_sock_addr_sk)
    static let boundDevice = Int(clinux_sock_bound_dev_if)
    static let boundAddress4 = Int(clinux_sock_src_ip4)
    static let boundAddress6 = Int(clinux_sock_src_ip6)
  }

  /// A key on the stack, which grows downwards.
  private enum Key {
    static let start = -MemoryLayout<ConnectKey>.stride
    static let namespace = start + offset(\ConnectKey.namespace)
    static let address = start + offset(\ConnectKey.address)
    static let port = start + offset(\ConnectKey.port)
    static let transport = start + offset(\ConnectKey.transport)
  }

  private enum Value {
    static let backend = offset(\ConnectValue.backend)
    static let count = offset(\ConnectValue.count)
    static let port = offset(\ConnectValue.port)
  }

  private static func offset<Root>(_ field: PartialKeyPath<Root>) -> Int {
    MemoryLayout<Root>.offset(of: field) ?? 0
  }
}

extension BinaryInteger {
  fileprivate var number: Int32 { Int32(truncatingIfNeeded: self) }
}
