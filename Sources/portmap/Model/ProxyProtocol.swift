/// The versions of the header with which haproxy's PROXY protocol begins a forwarded connection.
enum ProxyProtocol: String, Codable, CaseIterable, Sendable {
  case v1, v2
}
