import Glibc

/// `portmap list`: what is mapped, reserved and given out.
enum ListCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let wantsStatistics = arguments.has("--stats")
    if wantsStatistics, context.quiet, !context.json {
      throw Failure.usage("--stats and --quiet exclude each other")
    }
    let targets = try arguments.operands.map { text throws(SpecError) in try Target(text) }
    try Failure.wrapping("list") {
      let folder = try StateFolder.open(context.setting.statePath)
      let state = try folder.map { folder in
        var file = StateFile(folder: folder)
        return try file.read()
      }
      if let state, let folder {
        let selection = targets.isEmpty ? state.everything : state.selection(targets)
        let mappings = state.mappings.filter { selection.mappings.contains($0.id) }
        let statistics =
          wantsStatistics ? try Statistics(of: mappings, in: state, folder, context.setting.runner) : nil
        try show(state, selection, statistics, context)
      } else if context.json {
        try Output.json(ListDocument(addresses: [], mappings: [], reservations: []))
      }
      let missing = targets.filter { state?.selection([$0]).isEmpty ?? true }
      guard missing.isEmpty else {
        throw Failure.nowhere(missing, in: state)
      }
    }
  }

  private static func show(
    _ state: State,
    _ selection: Selection,
    _ statistics: Statistics?,
    _ context: Context
  ) throws {
    if context.json { return try Output.json(ListDocument(state, only: selection, statistics)) }
    let mappings = state.mappings.filter { selection.mappings.contains($0.id) }
    let reservations = state.reservations.filter { selection.reservations.contains($0.id) }
    let addresses = state.addresses.filter { selection.addresses.contains($0.ip) }
    if context.quiet {
      return try Output.lines(
        mappings.map(\.id) + reservations.map(\.id) + addresses.map { $0.name ?? "\($0.ip)" }
      )
    }
    var tables: [[[String]]] = []
    if let statistics, !mappings.isEmpty {
      let counted = mappings.map { ($0.mapping, statistics.of($0)) }
      tables.append(StatisticsTable.rows(counted, now: Int64(time(nil))))
    }
    var rows: [[String]] = []
    for mapping in mappings where statistics == nil {
      let way =
        mapping.status == .broken
        ? "broken" : mapping.mapping.way + (mapping.holder.isEmpty ? ", unreserved" : "")
      rows.append(["\(mapping.mapping)", way, mapping.id])
    }
    for reservation in reservations {
      rows.append(["\(reservation.reservation)", "reserved", reservation.id])
    }
    if !rows.isEmpty { tables.append([["PORT", "BY", "ID"]] + rows) }
    if !addresses.isEmpty {
      tables.append(
        [["ADDRESS", "NAME", "BRIDGE"]] + addresses.map { ["\($0.ip)", $0.name ?? "-", $0.bridge] }
      )
    }
    try Output.lines(Array(tables.map(Output.tableLines).joined(separator: [""])))
  }
}

extension Mapping {
  /// How packets get there, in a word.
  fileprivate var way: String {
    if let into { return "proxy into \(into.name)".printable() }
    let ways = [(delivery.nat, "nat"), (delivery.connect, "connect"), (delivery.proxy, "proxy")]
    return ways.filter(\.0).map(\.1).joined(separator: ", ")
  }
}

extension ListDocument {
  init(_ state: State, only selection: Selection, _ statistics: Statistics? = nil) {
    addresses = state.addresses.filter { selection.addresses.contains($0.ip) }.map {
      AddressDocument($0, state)
    }
    mappings = state.mappings.filter { selection.mappings.contains($0.id) }.map {
      MappingDocument($0, state, statistics)
    }
    reservations = state.reservations.filter { selection.reservations.contains($0.id) }
      .map { ReservationDocument($0, state) }
  }
}
