/// The flows that a mapping of these ports has to do with.
struct FlowFilter: Codable, Hashable, Sendable {
  let transport: Transport
  let hostIP: HostAddress
  let first: UInt16
  let last: UInt16
}
