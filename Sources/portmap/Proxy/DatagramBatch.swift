import CLinux
import Glibc

/// Space for datagrams that recvmmsg brings: for each slot the payload, whom it came from, and control messages.
///
/// The payloads are 4 MiB of address space, of which a page is real only once a datagram has been there. There are
/// two of these for all sockets of a process, from the first datagram until the last client is forgotten.
final class DatagramBatch {
  static let slots = 64
  /// What one message can be at most, with UDP_GRO too.
  private static let slotSize = 65_536

  private let payloads: UnsafeMutableRawPointer
  private let headers: UnsafeMutablePointer<clinux_mmsghdr>
  private let vectors: UnsafeMutablePointer<iovec>
  private let names: UnsafeMutablePointer<sockaddr_in6>
  private let controls: UnsafeMutableRawPointer
  /// Slots, from the first on, that hold datagrams.
  private(set) var used = 0

  init?() {
    let size = Self.slots * Self.slotSize
    guard let payloads = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      payloads != MAP_FAILED
    else { return nil }
    self.payloads = payloads
    headers = .allocate(capacity: Self.slots)
    vectors = .allocate(capacity: Self.slots)
    names = .allocate(capacity: Self.slots)
    controls = .allocate(byteCount: Self.slots * ControlWriter.size, alignment: 16)
    names.initialize(repeating: sockaddr_in6(), count: Self.slots)
    headers.initialize(repeating: clinux_mmsghdr(), count: Self.slots)
    for slot in 0..<Self.slots {
      (vectors + slot).initialize(to: iovec(iov_base: payload(slot), iov_len: Self.slotSize))
      prepare(slot)
    }
  }

  deinit {
    munmap(payloads, Self.slots * Self.slotSize)
    headers.deallocate()
    vectors.deallocate()
    names.deallocate()
    controls.deallocate()
  }

  var isFull: Bool { used == Self.slots }

  /// Receives into the slots that are free, as many as there are or is room for.
  func receive(from socket: Int32) -> Outcome {
    let first = used
    let count = UInt32(Self.slots - first)
    let outcome = attempt("recvmmsg") {
      Int(clinux_recvmmsg(socket, headers + first, count, Int32(MSG_DONTWAIT)))
    }
    if case .done(let received) = outcome { used += received }
    return outcome
  }

  /// Makes all slots free.
  func clear() {
    for slot in 0..<used { prepare(slot) }
    used = 0
  }

  func payload(_ slot: Int) -> UnsafeMutableRawPointer { payloads + slot * Self.slotSize }

  func length(_ slot: Int) -> Int { Int(headers[slot].msg_len) }

  /// Where the datagram came from.
  func source(_ slot: Int) -> SocketAddress? {
    UnsafeRawPointer(names + slot).withMemoryRebound(to: sockaddr.self, capacity: 1) { SocketAddress($0) }
  }

  func information(_ slot: Int) -> PacketInfo {
    withUnsafeMutablePointer(to: &headers[slot].msg_hdr) { PacketInfo($0) }
  }

  /// Sets what the kernel overwrote the last time.
  private func prepare(_ slot: Int) {
    headers[slot].msg_hdr = msghdr(
      msg_name: names + slot,
      msg_namelen: socklen_t(MemoryLayout<sockaddr_in6>.size),
      msg_iov: vectors + slot,
      msg_iovlen: 1,
      msg_control: controls + slot * ControlWriter.size,
      msg_controllen: ControlWriter.size,
      msg_flags: 0
    )
  }
}
