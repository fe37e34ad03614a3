import CLinux

/// One instruction of the kernel's virtual machine (Documentation/bpf/standardization/instruction-set.rst), or a place
/// that jumps lead to.
enum Instruction: Equatable, Sendable {
  /// `to = *(size *)(from + offset)`
  case load(Register, Width, from: Register, at: Int)
  /// `*(size *)(to + offset) = from`
  case store(Width, to: Register, at: Int, Register)
  /// `*(size *)(to + offset) = number`
  case storeNumber(Width, to: Register, at: Int, Int32)
  /// `lock *(u64 *)(to + offset) += from`, as one step.
  case addAtomically(to: Register, at: Int, Register)
  case copy(Register, Register)
  case set(Register, Int32)
  case add(Register, Int32)
  case or(Register, Register)
  case shiftRight(Register, Int32)
  /// Turns 32 bits from the order of the network into that of this processor.
  case fromNetworkOrder(Register)
  /// Puts a map's address into a register.
  case loadMap(Register, Map)
  case call(Helper)
  case jump(to: Label)
  case jumpIf(Register, Comparison, Int32, to: Label)
  case exit
  case label(Label)

  enum Register: UInt8, Sendable {
    /// r0 has what a helper returns, and the program's own result.
    case r0
    /// r1 to r5 are a helper's arguments, and worth nothing after its call.
    case r1, r2, r3, r4, r5
    case r6, r7, r8, r9
    /// The end of the stack.
    case r10
  }

  enum Width: Sendable {
    case u32, u64

    fileprivate var code: Int32 { self == .u32 ? BPF_W : BPF_DW }
  }

  enum Comparison: String, Sendable {
    case equal = "=="
    case unequal = "!="

    fileprivate var code: Int32 { self == .equal ? BPF_JEQ : BPF_JNE }
  }

  /// The maps that a program has.
  enum Map: String, CaseIterable, Sendable {
    case entries, sockets
  }

  /// The functions of the kernel that a program may call (bpf-helpers(7)).
  enum Helper: String, Sendable {
    case mapLookup = "bpf_map_lookup_elem"
    case namespaceCookie = "bpf_get_netns_cookie"
    case socketStorage = "bpf_sk_storage_get"

    fileprivate var number: Int32 {
      switch self {
      case .mapLookup: Int32(clinux_bpf_map_lookup_elem)
      case .namespaceCookie: Int32(clinux_bpf_get_netns_cookie)
      case .socketStorage: Int32(clinux_bpf_sk_storage_get)
      }
    }
  }

  typealias Label = String
}

extension Instruction: CustomStringConvertible {
  /// The instruction as the kernel's own tools write it.
  var description: String {
    func place(_ width: Width, _ register: Register, _ offset: Int) -> String {
      "*(\(width) *)(\(register) \(offset < 0 ? "-" : "+") \(abs(offset)))"
    }
    switch self {
    case .load(let to, let width, let from, let offset): return "\(to) = \(place(width, from, offset))"
    case .store(let width, let to, let offset, let from): return "\(place(width, to, offset)) = \(from)"
    case .storeNumber(let width, let to, let offset, let number):
      return "\(place(width, to, offset)) = \(number)"
    case .addAtomically(let to, let offset, let from): return "lock \(place(.u64, to, offset)) += \(from)"
    case .copy(let to, let from): return "\(to) = \(from)"
    case .set(let register, let number): return "\(register) = \(number)"
    case .add(let register, let number): return "\(register) += \(number)"
    case .or(let to, let from): return "\(to) |= \(from)"
    case .shiftRight(let register, let bits): return "\(register) >>= \(bits)"
    case .fromNetworkOrder(let register): return "\(register) = be32 \(register)"
    case .loadMap(let register, let map): return "\(register) = map \(map.rawValue)"
    case .call(let helper): return "call \(helper.rawValue)"
    case .jump(let label): return "goto \(label)"
    case .jumpIf(let register, let comparison, let number, let label):
      return "if \(register) \(comparison.rawValue) \(number) goto \(label)"
    case .exit: return "exit"
    case .label(let label): return "\(label):"
    }
  }
}

extension Instruction {
  /// Turns a program into the kernel's coding, 8 bytes an instruction.
  ///
  /// - Parameter maps: The descriptors of the program's maps.
  static func assemble(_ program: [Instruction], maps: [Map: Int32]) -> [UInt64] {
    var places: [Label: Int] = [:]
    var count = 0
    for instruction in program {
      if case .label(let label) = instruction { places[label] = count }
      count += instruction.length
    }
    var code: [UInt64] = []
    for instruction in program { code += instruction.coded(at: code.count, places, maps) }
    return code
  }

  private var length: Int {
    switch self {
    case .label: 0
    case .loadMap: 2
    default: 1
    }
  }

  private func coded(at position: Int, _ places: [Label: Int], _ maps: [Map: Int32]) -> [UInt64] {
    // A jump is counted from the instruction behind it.
    func distance(_ label: Label) -> Int { (places[label] ?? 0) - position - 1 }
    switch self {
    case .label: return []
    case .load(let to, let width, let from, let offset):
      return [Self.code(BPF_LDX | BPF_MEM | width.code, to, from, offset)]
    case .store(let width, let to, let offset, let from):
      return [Self.code(BPF_STX | BPF_MEM | width.code, to, from, offset)]
    case .storeNumber(let width, let to, let offset, let number):
      return [Self.code(BPF_ST | BPF_MEM | width.code, to, .r0, offset, number)]
    case .addAtomically(let to, let offset, let from):
      return [Self.code(BPF_STX | BPF_ATOMIC | BPF_DW, to, from, offset, BPF_ADD)]
    case .copy(let to, let from): return [Self.code(BPF_ALU64 | BPF_MOV | BPF_X, to, from)]
    case .set(let register, let number): return [Self.code(BPF_ALU64 | BPF_MOV | BPF_K, register, number)]
    case .add(let register, let number): return [Self.code(BPF_ALU64 | BPF_ADD | BPF_K, register, number)]
    case .or(let to, let from): return [Self.code(BPF_ALU64 | BPF_OR | BPF_X, to, from)]
    case .shiftRight(let register, let bits): return [Self.code(BPF_ALU64 | BPF_RSH | BPF_K, register, bits)]
    case .fromNetworkOrder(let register): return [Self.code(BPF_ALU | BPF_END | BPF_TO_BE, register, 32)]
    case .loadMap(let register, let map):
      let source = Register(rawValue: UInt8(BPF_PSEUDO_MAP_FD)) ?? .r1
      return [Self.code(BPF_LD | BPF_IMM | BPF_DW, register, source, 0, maps[map] ?? -1), 0]
    case .call(let helper): return [Self.code(BPF_JMP | BPF_CALL, .r0, helper.number)]
    case .jump(let label): return [Self.code(BPF_JMP | BPF_JA, .r0, .r0, distance(label))]
    case .jumpIf(let register, let comparison, let number, let label):
      return [Self.code(BPF_JMP | comparison.code | BPF_K, register, .r0, distance(label), number)]
    case .exit: return [Self.code(BPF_JMP | BPF_EXIT, .r0, 0)]
    }
  }

  private static func code(_ operation: Int32, _ to: Register, _ number: Int32) -> UInt64 {
    code(operation, to, .r0, 0, number)
  }

  /// struct bpf_insn: the operation, the two registers, an offset and a number, in this processor's order.
  private static func code(
    _ operation: Int32,
    _ to: Register,
    _ from: Register,
    _ offset: Int = 0,
    _ number: Int32 = 0
  ) -> UInt64 {
    var bytes = [UInt8(truncatingIfNeeded: operation), to.rawValue | from.rawValue << 4]
    withUnsafeBytes(of: Int16(truncatingIfNeeded: offset)) { bytes += Array($0) }
    withUnsafeBytes(of: number) { bytes += Array($0) }
    return bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
  }
}
