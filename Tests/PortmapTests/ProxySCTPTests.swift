import CLinux
import Testing

@testable import portmap

@Suite struct ProxySCTPTests {
  /// Hands over a message header whose control messages `write` has written.
  private func message<Result>(
    _ write: (inout ControlWriter) -> Void,
    _ read: (UnsafeMutablePointer<msghdr>) throws -> Result
  ) rethrows -> Result {
    let space = UnsafeMutableRawPointer.allocate(byteCount: ControlWriter.size, alignment: 16)
    defer { space.deallocate() }
    var writer = ControlWriter(space)
    write(&writer)
    var header = msghdr()
    header.msg_control = space
    header.msg_controllen = writer.length
    return try read(&header)
  }

  @Test func labelIsWrittenAsTheKernelReadsIt() throws {
    let label = SCTPLabel(stream: 3, payloadProtocol: UInt32(60).bigEndian, isUnordered: true)
    try message({ $0.setLabel(label) }) { message in
      let header = try #require(clinux_cmsg_first(message))
      #expect(header.pointee.cmsg_level == 132)
      #expect(header.pointee.cmsg_type == 2)
      #expect(header.pointee.cmsg_len == clinux_cmsg_length(16))
      let data = UnsafeRawBufferPointer(start: clinux_cmsg_data(header), count: 16)
      #expect(Array(data) == [3, 0, 1, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0])
    }
  }

  /// struct sctp_rcvinfo of stream 258, sequence number 9 and payload protocol 46.
  private func received(flags: UInt8) -> [UInt8] {
    [2, 1, 9, 0, flags, 0, 0xAA, 0xAA, 0, 0, 0, 46] + [UInt8](repeating: 7, count: 16)
  }

  private func label(_ bytes: [UInt8], level: Int32 = 132, type: Int32 = 3) -> SCTPLabel {
    message({ $0.append(level, type, bytes.withUnsafeBytes { $0.loadUnaligned(as: sctp_rcvinfo.self) }) }) {
      SCTPLabel($0)
    }
  }

  @Test func labelIsReadAsTheKernelWritesIt() {
    let protocolNumber = UInt32(46).bigEndian
    #expect(label(received(flags: 0)) == SCTPLabel(stream: 258, payloadProtocol: protocolNumber))
    #expect(
      label(received(flags: 1))
        == SCTPLabel(stream: 258, payloadProtocol: protocolNumber, isUnordered: true)
    )
    // Other bits are the kernel's own.
    #expect(!label(received(flags: 0xFE)).isUnordered)
  }

  @Test func otherControlMessagesAreNoLabel() {
    #expect(label(received(flags: 1), type: 1) == SCTPLabel())
    #expect(label(received(flags: 1), level: 1) == SCTPLabel())
    #expect(message({ _ in }, { SCTPLabel($0) }) == SCTPLabel())
  }

  @Test func streamsAreAskedForAndRead() {
    let request = SCTPStreams(incoming: 7, outgoing: 300).request
    #expect(withUnsafeBytes(of: request) { Array($0) } == [0x2C, 1, 7, 0, 0, 0, 0, 0])
    var status = [UInt8](repeating: 0, count: 176)
    status.replaceSubrange(16..<20, with: [7, 0, 0x2C, 1])
    #expect(
      SCTPStreams(status.withUnsafeBytes { $0.loadUnaligned(as: sctp_status.self) })
        == SCTPStreams(incoming: 7, outgoing: 300)
    )
  }
}
