/// How far the talk of a udp client has come. Where room is needed, the first of these goes first.
enum UDPStanding: Int, CaseIterable {
  /// The backend has sent it nothing: whoever makes up sources gets no further.
  case unanswered
  case answered
  /// It has sent again after an answer.
  case conversing
}

/// The udp clients of a proxy, found by what their datagrams carry, and in the order of their last use: the order
/// in which they expire, and in which those of one standing make room for others.
///
/// Clients of one time limit and standing are one queue, so that its head is always the next to expire. The queues are
/// linked by numbers of slots: links by reference would free ten thousand clients by as many nested calls.
struct UDPClientTable {
  private struct Queue {
    let timeout: Int64
    var oldest: Int32 = -1
    var newest: Int32 = -1
  }

  private var byKey: [UDPClientKey: UDPClient] = [:]
  private var slots: [UDPClient?] = []
  private var freeSlots: [Int32] = []
  /// One for each standing in the standings' order, time limit after time limit.
  private var queues: [Queue] = []

  var count: Int { byKey.count }
  var isEmpty: Bool { byKey.isEmpty }

  subscript(key: UDPClientKey) -> UDPClient? { byKey[key] }

  /// The first queue of a time limit in milliseconds. Few limits are ever in use.
  mutating func queue(timeout: Int64) -> Int {
    if let index = queues.firstIndex(where: { $0.timeout == timeout }) { return index }
    queues += UDPStanding.allCases.map { _ in Queue(timeout: timeout) }
    return queues.count - UDPStanding.allCases.count
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

  /// Notes that a client is in use, and what has come of it; one that is in the table no more is left alone.
  mutating func touch(_ client: UDPClient, as standing: UDPStanding, now: Int64) {
    client.lastUse = now
    guard client.slot >= 0, client.standing != standing || queues[client.queue].newest != client.slot
    else { return }
    unlink(client)
    client.standing = standing
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

  /// The client that makes room for others first: of those with the lowest standing the one that has been idle the
  /// longest.
  var firstToGo: UDPClient? {
    for standing in UDPStanding.allCases {
      var first: UDPClient?
      for queue in stride(from: standing.rawValue, to: queues.count, by: UDPStanding.allCases.count) {
        guard let client = at(queues[queue].oldest) else { continue }
        if first.map({ client.lastUse < $0.lastUse }) ?? true { first = client }
      }
      if let first { return first }
    }
    return nil
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
    let queue = client.queue
    client.older = queues[queue].newest
    client.newer = -1
    if let older = at(client.older) { older.newer = client.slot } else { queues[queue].oldest = client.slot }
    queues[queue].newest = client.slot
  }

  private mutating func unlink(_ client: UDPClient) {
    let queue = client.queue
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

extension UDPClient {
  /// The queue that it is in.
  fileprivate var queue: Int { frontend.firstQueue + standing.rawValue }
}
