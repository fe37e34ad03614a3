import Foundation

/// nftables' own tables, whose verdict to drop no ACCEPT of iptables overrides.
struct NativeTables {
  let runner: ProgramRunner

  /// The base chains that drop what nothing accepts, in tables that are not iptables', as far as `nft` is there to ask.
  func problems(_ mappings: [Mapping]) -> [Problem] {
    guard mappings.contains(where: { !$0.rules.isEmpty }), runner.has("nft"),
      let result = try? runner.run("nft", ["--json", "list", "ruleset"])
    else { return [] }
    return Self.problems(in: result.stdout, mappings)
  }

  private struct Ruleset: Decodable { let nftables: [Item] }
  private struct Item: Decodable {
    var chain: Chain?
    var rule: Rule?
  }
  private struct Chain: Decodable {
    let family: String
    let table: String
    let name: String
    var hook: String?
    var policy: String?
  }
  fileprivate struct Rule: Decodable {
    let family: String
    let table: String
    let chain: String
    let expr: [JSON]
  }

  /// Reads what `nft --json list ruleset` prints.
  static func problems(in output: [UInt8], _ mappings: [Mapping]) -> [Problem] {
    guard let items = try? JSONDecoder().decode(Ruleset.self, from: Data(output)).nftables else { return [] }
    let iptables = Set(["raw", "nat", "filter", "mangle", "security"])
    let chains = items.compactMap(\.chain).filter { chain in
      ["forward", "input", "prerouting"].contains(chain.hook ?? "")
        && ["ip", "ip6", "inet"].contains(chain.family)
        && !(chain.family != "inet" && iptables.contains(chain.table))
    }
    var problems: [Problem] = []
    for chain in chains {
      let rules = items.compactMap(\.rule).filter {
        $0.family == chain.family && $0.table == chain.table && $0.chain == chain.name
      }
      let subject = "nftables \(chain.family) \(chain.table) \(chain.name)"
      if chain.policy == "drop", !rules.contains(where: \.acceptsDNAT) {
        problems.append(
          Problem(
            subject: subject,
            problem: "it drops \(chain.hook ?? "") traffic that it does not accept itself"
          )
        )
      }
      for mapping in mappings where !mapping.rules.isEmpty {
        let ports = chain.hook == "forward" ? mapping.backendPorts : mapping.hostPorts
        if rules.contains(where: { $0.drops(mapping.transport, ports) }) {
          problems.append(Problem(subject: subject, problem: "a rule in it drops the traffic of \(mapping)"))
        }
      }
    }
    return problems
  }
}

/// Any JSON value.
private indirect enum JSON: Decodable {
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

  var text: String? {
    if case .string(let text) = self { text } else { nil }
  }

  /// The nearest port number, whatever the number.
  private static func port(_ number: Double) -> UInt16 { UInt16(max(0, min(number, Double(UInt16.max)))) }

  /// The ports that the value stands for: a number, a range, a set of them.
  func contains(_ ports: PortRange) -> Bool {
    switch self {
    case .number(let number):
      return PortRange(first: Self.port(number), count: 1)?.overlaps(ports) ?? false
    case .array(let values): return values.contains { $0.contains(ports) }
    case .object(let members):
      if case .array(let ends)? = members["range"], ends.count == 2, case .number(let low) = ends[0],
        case .number(let high) = ends[1]
      {
        return PortRange(first: Self.port(low), last: Self.port(high))?.overlaps(
          ports
        ) ?? false
      }
      return members["set"]?.contains(ports) ?? false
    case .string, .other: return false
    }
  }
}

extension NativeTables.Rule {
  /// Whether the rule lets every connection through that was redirected: `ct status dnat accept`.
  fileprivate var acceptsDNAT: Bool {
    expr.contains { $0["accept"] != nil }
      && expr.contains { $0["match"]?["left"]?["ct"]?["key"]?.text == "status" }
  }

  /// Whether the rule drops or rejects these destination ports.
  fileprivate func drops(_ transport: Transport, _ ports: PortRange) -> Bool {
    guard expr.contains(where: { $0["drop"] != nil || $0["reject"] != nil }) else { return false }
    return expr.contains { item in
      guard let match = item["match"], let payload = match["left"]?["payload"],
        payload["field"]?.text == "dport",
        payload["protocol"]?.text == transport.rawValue || payload["protocol"]?.text == "th",
        match["op"]?.text != "!="
      else { return false }
      return match["right"]?.contains(ports) ?? false
    }
  }
}
