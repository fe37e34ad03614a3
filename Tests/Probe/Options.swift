/// A command line taken apart: operands, `--name value` options, flags, and what follows `--`.
struct Options {
  private var operands: [String] = []
  private var values: [String: String] = [:]
  /// The program to start, and its arguments.
  private(set) var command: [String] = []

  private static let flags: Set = ["reuse", "v6only", "read-first", "abort", "peer", "tell"]

  init(_ arguments: [String]) {
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      if argument == "--" {
        command = Array(rest)
        return
      }
      guard argument.hasPrefix("--") else {
        operands.append(argument)
        continue
      }
      let name = String(argument.dropFirst(2))
      values[name] = Self.flags.contains(name) ? "" : rest.popFirst() ?? ""
    }
  }

  func operand(_ index: Int) -> String {
    index < operands.count ? operands[index] : ""
  }

  func operands(from index: Int) -> [String] {
    Array(operands.dropFirst(index))
  }

  func has(_ name: String) -> Bool {
    values[name] != nil
  }

  subscript(name: String) -> String? {
    values[name]
  }

  func integer(_ name: String) -> Int? {
    values[name].flatMap { Int($0) }
  }

  /// Seconds to wait for an answer.
  var timeout: Double {
    values["timeout"].flatMap { Double($0) } ?? 2
  }

  /// The port or range of ports that an operand names.
  func ports(_ index: Int) throws(Ending) -> ClosedRange<UInt16> {
    let ends = operand(index).split(separator: "-").compactMap { UInt16($0) }
    guard let first = ends.first, let last = ends.last, first <= last, ends.count <= 2 else {
      throw Ending(.usage, "not a port: \(operand(index))")
    }
    return first...last
  }
}
