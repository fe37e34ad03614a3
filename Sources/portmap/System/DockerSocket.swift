import CLinux
import Foundation

/// The socket of docker's daemon, asked about its containers (docker's Engine API, `GET /containers/json`).
enum DockerSocket {
  private static let path = "/run/docker.sock"
  /// The daemon answers at once or is busy: nobody shall wait for a name.
  private static let seconds = 1
  private static let longestAnswer = 4 << 20

  /// The name of the container with an address; nil where the daemon is not there, or does not tell.
  static func container(at address: IPAddress) -> String? {
    guard let answer = try? ask("/containers/json") else { return nil }
    return container(at: address, in: answer)
  }

  /// Reads the list of containers behind the header of an answer.
  static func container(at address: IPAddress, in answer: [UInt8]) -> String? {
    struct Container: Decodable {
      struct Settings: Decodable { let Networks: [String: Network]? }
      struct Network: Decodable {
        let IPAddress: String?
        let GlobalIPv6Address: String?
      }
      let Names: [String]?
      let NetworkSettings: Settings?
    }
    let separator = Data("\r\n\r\n".utf8)
    let data = Data(answer)
    guard let header = data.firstRange(of: separator) else { return nil }
    let list = try? JSONDecoder().decode([Container].self, from: data[header.upperBound...])
    let found = list?.first { container in
      (container.NetworkSettings?.Networks ?? [:]).values.contains {
        [$0.IPAddress, $0.GlobalIPv6Address].contains("\(address)")
      }
    }
    return found?.Names?.first.map { $0.hasPrefix("/") ? String($0.dropFirst()) : $0 }
  }

  /// HTTP/1.0, in which an answer ends with the connection and comes in one piece.
  private static func ask(_ resource: String) throws -> [UInt8] {
    let socket = try Descriptor("socket") {
      Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    }
    let limit = timeval(tv_sec: seconds, tv_usec: 0)
    _ = socket.setOption(SocketLevel.socket, SO_RCVTIMEO, structure: limit)
    _ = socket.setOption(SocketLevel.socket, SO_SNDTIMEO, structure: limit)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
    try syscall("connect") {
      withUnsafePointer(to: address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(socket.raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
    }
    try Files.write("GET \(resource) HTTP/1.0\r\nHost: docker\r\n\r\n", to: socket)
    let deadline = Deadline.after(seconds: seconds)
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while !deadline.hasPassed, answer.count < longestAnswer {
      let count = try syscall("read") { read(socket.raw, &buffer, buffer.count) }
      if count == 0 { break }
      answer += buffer[..<count]
    }
    return answer
  }
}
