import Foundation

/// A ruleset as `nft --json list …` prints it, as far as it decides about packets.
struct NativeRuleset {
  struct TableName: Hashable {
    let family: String
    let name: String
  }

  struct Chain {
    let family: String
    let table: String
    let name: String
    let hook: String?
    let priority: Double
    let policy: String?

    var tableName: TableName { TableName(family: family, name: table) }

    /// Whether the chain is one of iptables' own, where portmap's rules come first.
    fileprivate var isOfIPTables: Bool {
      family != "inet" && ["raw", "mangle", "nat", "filter", "security"].contains(table)
        && ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"].contains(name)
    }
  }

  /// The chains at hooks where what portmap depends on can be dropped.
  let baseChains: [Chain]
  /// The statements of each rule, by table and chain.
  private let rules: [TableName: [String: [[JSON]]]]
  /// The elements of named sets and maps, by table and name.
  private let sets: [TableName: [String: JSON]]

  /// Reads the output of `nft`; nil for anything else.
  init?(_ output: [UInt8]) {
    guard let document = try? JSONDecoder().decode(JSON.self, from: Data(output)),
      let items = document["nftables"]?.elements
    else { return nil }
    func table(_ item: JSON) -> TableName {
      TableName(family: item["family"]?.text ?? "", name: item["table"]?.text ?? "")
    }
    baseChains = items.compactMap { $0["chain"] }.map { chain in
      Chain(
        family: chain["family"]?.text ?? "",
        table: chain["table"]?.text ?? "",
        name: chain["name"]?.text ?? "",
        hook: chain["hook"]?.text,
        priority: chain["prio"]?.number ?? 0,
        policy: chain["policy"]?.text
      )
    }.filter {
      ["prerouting", "input", "forward"].contains($0.hook) && ["inet", "ip", "ip6"].contains($0.family)
        && !$0.isOfIPTables
    }
    var rules: [TableName: [String: [[JSON]]]] = [:]
    for rule in items.compactMap({ $0["rule"] }) {
      rules[table(rule), default: [:]][rule["chain"]?.text ?? "", default: []].append(
        rule["expr"]?.elements ?? []
      )
    }
    self.rules = rules
    var sets: [TableName: [String: JSON]] = [:]
    for set in items.compactMap({ $0["set"] ?? $0["map"] }) {
      sets[table(set), default: [:]][set["name"]?.text ?? ""] = set["elem"] ?? .array([])
    }
    self.sets = sets
  }

  func rules(_ table: TableName, _ chain: String) -> [[JSON]] { rules[table]?[chain] ?? [] }

  /// Returns the values that a right-hand side or a map stands for: one, those of a set, or of a set by name; nil for
  /// the name of a set that is not there.
  func values(_ side: JSON, _ table: TableName) -> [JSON]? {
    if let name = side.text, name.hasPrefix("@") {
      return sets[table]?[String(name.dropFirst())]?.elements.map { $0["elem"]?["val"] ?? $0 }
    }
    return (side["set"] ?? side).elements.map { $0["elem"]?["val"] ?? $0 }
  }
}

/// Any JSON value.
indirect enum JSON: Decodable {
  case object([String: JSON])
  case array([JSON])
  case string(String)
  case number(Double)
  case other

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let value = try? container.decode([String: JSON].self) {
      self = .object(value)
    } else if let value = try? container.decode([JSON].self) {
      self = .array(value)
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else {
      self = .other
    }
  }

  subscript(key: String) -> JSON? {
    if case .object(let members) = self { members[key] } else { nil }
  }

  /// The elements of an array; any other value is its own only element.
  var elements: [JSON] {
    if case .array(let values) = self { values } else { [self] }
  }

  var text: String? {
    if case .string(let text) = self { text } else { nil }
  }

  var number: Double? {
    if case .number(let number) = self { number } else { nil }
  }
}
