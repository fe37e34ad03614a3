/// A filter for the tracked flows to a range of host ports.
struct FlowFilter: Codable, Hashable, Sendable {
  let transport: Transport
  let hostIP: HostAddress
  let first: UInt16
  let last: UInt16
}
