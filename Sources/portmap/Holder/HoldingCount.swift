/// What the proxy has carried for a holding, as the control protocol tells it.
struct HoldingCount: Equatable, Sendable {
  let id: String
  let count: ProxyCount
}

extension HoldingCount {
  func encode(to writer: inout ByteWriter) {
    writer.put(id: id)
    for number in [count.clients, count.open, count.bytesIn, count.bytesOut, count.failed] {
      writer.put(number)
    }
    writer.put(count.lastFailure?.errno ?? 0)
    writer.put(count.lastFailure?.time ?? 0)
  }

  init?(from reader: inout ByteReader) {
    guard let id = reader.id(), let clients = reader.number(UInt64.self),
      let open = reader.number(UInt64.self), let bytesIn = reader.number(UInt64.self),
      let bytesOut = reader.number(UInt64.self), let failed = reader.number(UInt64.self),
      let errno = reader.number(Int32.self), let time = reader.number(Int64.self)
    else { return nil }
    // Without a reason there is no time either.
    guard errno != 0 || time == 0 else { return nil }
    self.id = id
    count = ProxyCount(
      clients: clients,
      open: open,
      bytesIn: bytesIn,
      bytesOut: bytesOut,
      failed: failed,
      lastFailure: errno == 0 ? nil : ProxyFailure(errno: errno, time: time)
    )
  }
}
