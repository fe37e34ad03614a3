/// The udp clients of a proxy, found by what their datagrams carry, and in the order of their last use: the order
/// in which they expire, and in which they make room for others.
///
/// Clients of one time limit are one queue, so that its head is always the next to expire. The queues are linked by
/// numbers of slots: links by reference would free ten thousand clients by as many nested calls.
struct UDPClientTable {
  private struct Queue {
    let timeout: Int64
    var oldest: Int32 = -1
    var newest: Int32 = -1
  }

  private var byKey: [UDPClientKey: UDPClient] = [:]
  private var slots: [UDPClient?] = []
  private var freeSlots: [Int32] = []
  private var queues: [Queue] = []

  var count: Int { byKey.count }
  var isEmpty: Bool { byKey.isEmpty }

  subscript(key: UDPClientKey) -> UDPClient? { byKey[key] }

  /// The queue of a time limit in milliseconds. Few are ever in use.
  mutating func queue(timeout: Int64) -> Int {
    if let index = queues.firstIndex(where: { $0.timeout == timeout }) { return index }
    queues.append(Queue(timeout: timeout))
    return queues.count - 1
  }

  mutating func insert(_ client: UDPClient, now: Int64) {
    byKey[client.key] = client
    if let slot = freeSlots.popLast() {
      client.slot = slot
      slots[Int(slot)] = client
    } else {
      client.slot = Int32(slots.count)
      slots.append(client)
    }
    client.lastUse = now
    link(client)
  }

  /// Notes that a client is in use; one that is in the table no more is left alone.
  mutating func touch(_ client: UDPClient, now: Int64) {
    client.lastUse = now
    guard client.slot >= 0, queues[client.frontend.queue].newest != client.slot else { return }
    unlink(client)
    link(client)
  }

  mutating func remove(_ client: UDPClient) {
    guard client.slot >= 0 else { return }
    unlink(client)
    byKey[client.key] = nil
    slots[Int(client.slot)] = nil
    freeSlots.append(client.slot)
    client.slot = -1
    if byKey.isEmpty {
      // A flood has come and gone: its space goes too.
      byKey = [:]
      slots = []
      freeSlots = []
    }
  }

  /// The client that has been idle the longest.
  var leastRecentlyUsed: UDPClient? {
    queues.compactMap { at($0.oldest) }.min { $0.lastUse < $1.lastUse }
  }

  /// A client whose time is over.
  func expired(now: Int64) -> UDPClient? {
    for queue in queues {
      if let client = at(queue.oldest), client.lastUse + queue.timeout <= now { return client }
    }
    return nil
  }

  /// When the next client's time is over if nothing happens; nil without clients.
  var nextExpiry: Int64? {
    queues.compactMap { queue in at(queue.oldest).map { $0.lastUse + queue.timeout } }.min()
  }

  func clients(where matches: (UDPClient) -> Bool) -> [UDPClient] {
    slots.compactMap { $0 }.filter(matches)
  }

  private func at(_ slot: Int32) -> UDPClient? { slot < 0 ? nil : slots[Int(slot)] }

  private mutating func link(_ client: UDPClient) {
    let queue = client.frontend.queue
    client.older = queues[queue].newest
    client.newer = -1
    if let older = at(client.older) { older.newer = client.slot } else { queues[queue].oldest = client.slot }
    queues[queue].newest = client.slot
  }

  private mutating func unlink(_ client: UDPClient) {
    let queue = client.frontend.queue
    if let older = at(client.older) {
      older.newer = client.newer
    } else {
      queues[queue].oldest = client.newer
    }
    if let newer = at(client.newer) {
      newer.older = client.older
    } else {
      queues[queue].newest = client.older
    }
  }
}
