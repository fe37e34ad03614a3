import Foundation
import Testing

/// The examples of the manual and of the README do what they show.
@Suite struct ManualTests {
  /// A block of commands with what they print.
  struct Transcript: CustomStringConvertible, Sendable {
    let file: String
    let line: Int
    let text: String
    var description: String { "\(file):\(line)" }
    /// `$` is an ordinary user's prompt.
    var needsRoot: Bool { !text.hasPrefix("$ ") }
  }

  private static let manual = read("man/portmap.8") { lines, index in
    guard lines[index] == ".\\\" example", lines[index + 1].hasPrefix(".Bd -literal") else { return nil }
    return lines[(index + 2)...].prefix { $0 != ".Ed" }.map { $0.replacing("\\e", with: "\\") }
  }

  private static let readme = read("README.md") { lines, index in
    guard lines[index] == "<!-- example -->" else { return nil }
    return lines[(index + 2)...].prefix { $0.isEmpty || $0.hasPrefix("    ") }.map { String($0.dropFirst(4)) }
  }

  private static func read(
    _ file: String,
    _ block: ([String], Int) -> [String]?
  ) -> [Transcript] {
    let url = Tools.repository.appendingPathComponent(file)
    let lines =
      (try? String(contentsOf: url, encoding: .utf8))?
      .split(separator: "\n", omittingEmptySubsequences: false).map(String.init) ?? []
    return lines.indices.compactMap { index in
      guard var text = block(lines, index) else { return nil }
      while text.last?.isEmpty ?? false { text.removeLast() }
      return Transcript(file: file, line: index + 1, text: text.joined(separator: "\n"))
    }
  }

  /// Types the commands into one shell and prints what a person would see. The shell has process ids, mounts and
  /// network of its own: what is started ends with it, and names cannot clash.
  private static let driver = """
    binary=$1 prompt=$2 uid=$3
    if [ -z "$4" ]; then
      mount -t tmpfs -o mode=755 none /run && mkdir /run/netns /run/bin /run/user && chown 1000 /run/user
      cp "$binary" /run/bin/portmap
      export PATH=/run/bin:$PATH
      if [ "$uid" != 0 ]; then
        exec setpriv --reuid "$uid" --regid "$uid" --clear-groups bash "$0" "$1" "$2" "$3" again
      fi
    fi
    unset PORTMAP_STATE_DIR
    while IFS= read -r line; do
      case $line in
        "$prompt "*)
          printf '%s\\n' "$line"
          (exit "${status:-0}")
          eval "${line#"$prompt "}" </dev/null
          status=$?
          ;;
      esac
    done <"$TRANSCRIPT" 2>&1
    """

  @Test func someAreFound() {
    #expect(Self.manual.count >= 5 && Self.readme.count >= 1)
  }

  @Test(arguments: manual + readme)
  func example(_ transcript: Transcript) throws {
    let cleanup = Cleanup()
    defer { cleanup.run() }
    let folder = try makeFolder(cleanup)
    let host = try Namespace("h", cleanup)
    try host.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    try host.ip("addr", "add", "192.0.2.1/24", "dev", "eth0")
    try host.ip("link", "set", "eth0", "up")
    for (name, text) in [("driver", Self.driver), ("transcript", transcript.text + "\n")] {
      try text.write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
    }
    let outcome = try host.exec(
      [
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", folder + "/driver",
        Tools.portmap, transcript.needsRoot ? "#" : "$", transcript.needsRoot ? "0" : "1000", "",
      ],
      environment: ["TRANSCRIPT": folder + "/transcript", "XDG_RUNTIME_DIR": "/run/user"]
    )
    #expect(Self.normalized(outcome.stdout) == Self.normalized(transcript.text), "\(outcome.stderr)")
  }

  /// Identifiers differ each time, and how many bytes a program takes to ask differs from version to version; that a switch was turned on is said once in a machine's life.
  private static func normalized(_ text: String) -> [String] {
    text.split(separator: "\n").filter { !$0.hasPrefix("portmap: turned on ") }
      .map { line in
        String(line).replacing(#/\b[a-f][0-9a-f]{7}\b/#, with: "ID")
          .replacing(#/ +\d+(\.\d)? (B|KiB)\b/#, with: " N bytes").replacing(#/ {2,}/#, with: "  ")
      }
  }
}
