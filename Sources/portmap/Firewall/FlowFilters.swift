/// Many filters as one: those that a flow could match are found by its port.
struct FlowFilters {
  /// By blocks of 256 ports, so that a range takes few entries.
  private var blocks = [[FlowFilter]](repeating: [], count: 256)

  init(_ filters: [FlowFilter]) {
    for filter in filters where filter.first <= filter.last {
      for block in filter.first >> 8...filter.last >> 8 { blocks[Int(block)].append(filter) }
    }
  }

  var isEmpty: Bool { blocks.allSatisfy(\.isEmpty) }

  /// Whether any filter matches a flow.
  func matches(_ flow: Flow) -> Bool {
    filters(for: flow.destinationPort).contains {
      $0.transport == flow.transport && $0.hostIP.overlaps(.one(flow.destination))
    }
  }

  /// Whether any filter could match a flow of a list as /proc/net/nf_conntrack has it, going by the ports alone. Of
  /// each flow the list has the tuple of the first packet and then that of the replies.
  func mayMatch(list: [UInt8]) -> Bool {
    list.split(separator: UInt8(ascii: "\n")).contains { line in
      let words = line.split(separator: UInt8(ascii: " "))
      guard let word = words.first(where: { $0.starts(with: Self.portKey) }),
        let port = UInt16(String(decoding: word.dropFirst(Self.portKey.count), as: UTF8.self))
      else { return false }
      return !filters(for: port).isEmpty
    }
  }

  private static let portKey = "dport=".utf8

  private func filters(for port: UInt16) -> [FlowFilter] {
    blocks[Int(port >> 8)].filter { ($0.first...$0.last).contains(port) }
  }
}
