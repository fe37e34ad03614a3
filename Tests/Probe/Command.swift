import CLinux
import Glibc

/// What the probe exits with, so that a test can tell a refusal from a silence.
enum Status: Int32 {
  case done = 0
  case usage = 2
  case failed = 3
  case refused = 10
  case silent = 11
  case closed = 12
  case unreachable = 13
}

/// A reason to end, with the status that says which kind it is.
struct Ending: Error {
  let status: Status
  let message: String

  init(_ status: Status, _ message: String) {
    self.status = status
    self.message = message
  }

  /// The ending that an errno value stands for.
  init(errno code: Int32, _ call: String) {
    let status: Status =
      switch code {
      case ECONNREFUSED: .refused
      case EAGAIN, EINPROGRESS, ETIMEDOUT: .silent
      case ECONNRESET, EPIPE: .closed
      // A firewall's "administratively prohibited" is EACCES in IPv6.
      case EHOSTUNREACH, ENETUNREACH, EACCES: .unreachable
      default: .failed
      }
    let name = code == EADDRINUSE ? "EADDRINUSE" : code == EACCES ? "EACCES" : "\(code)"
    self.init(status, "\(call): \(name): \(String(cString: strerror(code)))")
  }
}

enum Command {
  static let usage = """
    usage: probe serve tcp|udp ADDR PORT[-END] [--name NAME] [--mode line|echo|sink|farewell|reset|picky|mute]
           probe ask tcp|udp ADDR PORT [--payload TEXT | --size N] [--read-first [--abort]] [--bind ADDR[/PORT]]
                 [--device NAME] [--peer]
           probe crowd ADDR PORT --count N
           probe flood ADDR PORT [--until NAME] [--interval MILLISECONDS] [--bind ADDR[/PORT]]
           probe scatter ADDR PORT[-END] --count N --from ADDR
           probe connects ADDR PORT
           probe spray ADDR PORT[-END] [--bind ADDR[/PORT]]
           probe bind tcp|udp ADDR PORT [--reuse] [--v6only]
           probe cookie
           probe entries [--namespace COOKIE]
           probe entry PORT [--owner TAG]
           probe confine PROGRAM [--tell]
           probe activate tcp/ADDR/PORT|udp/ADDR/PORT... -- CMD ARG...
    all: [--timeout SECONDS] for an answer, [--lifetime SECONDS] for the whole
    """

  /// Runs one command line and returns the exit status. SIGALRM ends whatever takes longer than its lifetime.
  static func run(_ arguments: [String]) -> Int32 {
    do throws(Ending) {
      let options = Options(arguments)
      alarm(UInt32(options.integer("lifetime") ?? 60))
      switch options.operand(0) {
      case "serve": try serve(options)
      case "ask": try ask(options)
      case "flood": try flood(options)
      case "spray": try spray(options)
      case "crowd": try crowd(options)
      case "scatter": try scatter(options)
      case "connects": try connects(options)
      case "bind": try tryBinding(options)
      case "entries": try entries(options)
      case "entry": try entry(options)
      case "cookie": say("\(clinux_netns_cookie())")
      case "confine": try confine(options)
      case "activate": try activate(options)
      default: throw Ending(.usage, usage)
      }
      return Status.done.rawValue
    } catch {
      complain(error.message)
      return error.status.rawValue
    }
  }
}

/// Writes a line at once: what `print` buffers for a pipe would come too late for whoever waits for it.
func say(_ line: String) {
  writeAll(1, Array((line + "\n").utf8))
}

func complain(_ line: String) {
  writeAll(2, Array((line + "\n").utf8))
}

private func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) {
  var rest = bytes[...]
  while !rest.isEmpty {
    let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    if count <= 0 { return }
    rest = rest.dropFirst(count)
  }
}
