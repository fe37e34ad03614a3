/// `portmap list`: what is mapped, reserved and given out.
enum ListCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let targets = try arguments.operands.map { text throws(SpecError) in try Target(text) }
    try Failure.wrapping("list") {
      let folder = try StateFolder.open(context.setting.statePath)
      let state = try folder.map { folder in
        var file = StateFile(folder: folder)
        return try file.read()
      }
      if let state {
        let selection = targets.isEmpty ? state.everything : state.selection(targets)
        try show(ListDocument(state, only: selection), state, selection, context)
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
    _ document: ListDocument,
    _ state: State,
    _ selection: Selection,
    _ context: Context
  ) throws {
    if context.json { return try Output.json(document) }
    let mappings = state.mappings.filter { selection.mappings.contains($0.id) }
    let reservations = state.reservations.filter { selection.reservations.contains($0.id) }
    let addresses = state.addresses.filter { selection.addresses.contains($0.ip) }
    if context.quiet {
      return try Output.lines(
        mappings.map(\.id) + reservations.map(\.id) + addresses.map { $0.name ?? "\($0.ip)" }
      )
    }
    var rows: [[String]] = []
    for mapping in mappings {
      let way =
        mapping.status == .broken
        ? "broken" : mapping.mapping.way + (mapping.holder.isEmpty ? ", unreserved" : "")
      rows.append(["\(mapping.mapping)", way, mapping.id])
    }
    for reservation in reservations {
      rows.append(["\(reservation.reservation)", "reserved", reservation.id])
    }
    if !rows.isEmpty { try Output.table([["PORT", "BY", "ID"]] + rows) }
    guard !addresses.isEmpty else { return }
    if !rows.isEmpty { try Output.lines([""]) }
    try Output.table(
      [["ADDRESS", "NAME", "BRIDGE"]] + addresses.map { ["\($0.ip)", $0.name ?? "-", $0.bridge] }
    )
  }
}

extension Mapping {
  /// How packets get there, in a word.
  fileprivate var way: String {
    if let into { return "proxy into \(into.name)".printable() }
    return switch (delivery.nat, delivery.proxy) {
    case (true, true): "nat, proxy"
    case (true, false): "nat"
    default: "proxy"
    }
  }
}

extension ListDocument {
  init(_ state: State, only selection: Selection) {
    addresses = state.addresses.filter { selection.addresses.contains($0.ip) }.map {
      AddressDocument($0, state)
    }
    mappings = state.mappings.filter { selection.mappings.contains($0.id) }.map { MappingDocument($0, state) }
    reservations = state.reservations.filter { selection.reservations.contains($0.id) }
      .map { ReservationDocument($0, state) }
  }
}
