import CLinux
import Foundation
import Testing

@testable import portmap

/// The list of system calls that a serving process may make: as a value, and on a process of its own.
@Suite struct SystemCallFilterTests {
  /// A call as the kernel shows it to the program.
  private struct Call {
    var number: Int32
    var arguments: [UInt64] = []
    var architecture = clinux_architecture

    /// What stands at an offset of struct seccomp_data.
    func word(at offset: Int) -> UInt32? {
      switch offset {
      case 0: UInt32(bitPattern: number)
      case 4: architecture
      case 16..<64 where offset % 8 == 0:
        UInt32(truncatingIfNeeded: arguments.dropFirst((offset - 16) / 8).first ?? 0)
      default: nil
      }
    }
  }

  /// Runs a program as the kernel would; nil where it would not be taken.
  private func run(_ program: [sock_filter], _ call: Call) -> UInt32? {
    var accumulator: UInt32 = 0
    var index = 0
    while index < program.count {
      let instruction = program[index]
      index += 1
      switch Int32(instruction.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        guard let word = call.word(at: Int(instruction.k)) else { return nil }
        accumulator = word
      case BPF_ALU | BPF_AND | BPF_K: accumulator &= instruction.k
      case BPF_JMP | BPF_JEQ | BPF_K:
        index += Int(accumulator == instruction.k ? instruction.jt : instruction.jf)
      case BPF_RET | BPF_K: return instruction.k
      default: return nil
      }
    }
    return nil
  }

  private func isAllowed(_ call: Call, _ sockets: Set<SocketKind> = []) -> Bool {
    let answer = run(SystemCallFilter.serving(sockets).program(.failure), call)
    #expect(answer == UInt32(SECCOMP_RET_ALLOW) || answer == UInt32(SECCOMP_RET_ERRNO) | UInt32(EPERM))
    return answer == UInt32(SECCOMP_RET_ALLOW)
  }

  @Test func everyRuleOfTheTable() {
    let filter = SystemCallFilter.serving([SocketKind(.tcp, .v4), SocketKind(.udp, .v6)])
    for rule in filter.rules {
      var call = Call(number: rule.number, arguments: Array(repeating: 0, count: 6))
      for condition in rule.conditions { call.arguments[condition.argument] = UInt64(condition.value) }
      #expect(run(filter.program(.failure), call) == UInt32(SECCOMP_RET_ALLOW), "\(rule)")
    }
    let names = Set(filter.rules.map(\.name))
    #expect(names.count > 40 && Set(filter.rules.map(\.number)).count == names.count)
  }

  @Test(arguments: [
    SYS_execve, SYS_execveat, SYS_openat, SYS_openat2, SYS_clone, SYS_clone3, SYS_kill, SYS_tkill, SYS_tgkill,
    SYS_pidfd_send_signal, SYS_pidfd_open, SYS_pidfd_getfd, SYS_ptrace, SYS_process_vm_readv,
    SYS_process_vm_writev, SYS_mount, SYS_setns, SYS_unshare, SYS_bpf, SYS_perf_event_open,
    SYS_io_uring_setup,
    SYS_bind, SYS_listen, SYS_socketpair, SYS_prctl, SYS_seccomp, SYS_setresuid, SYS_capset, SYS_memfd_create,
    SYS_unlinkat, SYS_readlinkat, SYS_ioctl, SYS_prlimit64, SYS_keyctl, SYS_init_module, SYS_userfaultfd,
    SYS_socket,
  ])
  func whatNoServingProcessNeeds(_ number: Int32) {
    #expect(!isAllowed(Call(number: number)))
  }

  @Test func otherNumbersAndProcessors() {
    let known = Set(SystemCallFilter.serving([]).rules.map(\.number))
    for number in Int32(0)..<1000 where !known.contains(number) {
      #expect(!isAllowed(Call(number: number)), "\(number)")
    }
    #expect(!isAllowed(Call(number: -1)))
    #expect(isAllowed(Call(number: SYS_read)))
    // The way of x32: bit 30.
    #expect(!isAllowed(Call(number: SYS_read | 0x4000_0000)))
    #expect(!isAllowed(Call(number: SYS_read, architecture: clinux_architecture ^ 1)))
  }

  @Test func socketsOfTheMappingsAlone() {
    let flags = Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    func opens(_ family: Int32, _ type: Int32, _ number: Int32) -> Bool {
      let arguments = [family, type | flags, number].map { UInt64(UInt32(bitPattern: $0)) }
      return isAllowed(
        Call(number: SYS_socket, arguments: arguments),
        [SocketKind(.tcp, .v4), SocketKind(.udp, .v6)]
      )
    }
    let (stream, datagram) = (Int32(SOCK_STREAM.rawValue), Int32(SOCK_DGRAM.rawValue))
    let (tcp, udp) = (Int32(IPPROTO_TCP), Int32(IPPROTO_UDP))
    #expect(opens(AF_INET, stream, tcp) && opens(AF_INET6, datagram, udp))
    #expect(!opens(AF_INET6, stream, tcp) && !opens(AF_INET, datagram, udp))
    #expect(!opens(AF_INET, stream, udp) && !opens(AF_INET, datagram, tcp))
    #expect(!opens(AF_INET, Int32(SOCK_RAW.rawValue), Int32(IPPROTO_ICMP)))
    for family in [AF_UNIX, AF_NETLINK, AF_PACKET, AF_VSOCK, AF_ALG] { #expect(!opens(family, stream, 0)) }
  }

  @Test func onlyTheRelayOfDatagramsBinds() {
    #expect(isAllowed(Call(number: SYS_bind), [SocketKind(.tcp, .v4), SocketKind(.udp, .v4)]))
    #expect(!isAllowed(Call(number: SYS_bind), [SocketKind(.tcp, .v4), SocketKind(.sctp, .v6)]))
  }

  @Test func argumentsThatMatter() {
    func call(_ number: Int32, _ index: Int, _ value: Int32) -> Call {
      var arguments = [UInt64](repeating: 0, count: 6)
      arguments[index] = UInt64(UInt32(bitPattern: value))
      return Call(number: number, arguments: arguments)
    }
    for number in [SYS_mmap, SYS_mprotect] {
      #expect(isAllowed(call(number, 2, PROT_READ | PROT_WRITE)) && isAllowed(call(number, 2, PROT_NONE)))
      #expect(!isAllowed(call(number, 2, PROT_READ | PROT_EXEC)) && !isAllowed(call(number, 2, PROT_EXEC)))
    }
    #expect(isAllowed(call(SYS_fcntl, 1, F_SETFL)) && isAllowed(call(SYS_fcntl, 1, F_GETFL)))
    #expect(!isAllowed(call(SYS_fcntl, 1, F_SETOWN)) && !isAllowed(call(SYS_fcntl, 1, F_DUPFD)))
  }

  @Test func aRefusalThatIsTold() {
    let program = SystemCallFilter.serving([]).program(.toldFailure)
    #expect(run(program, Call(number: SYS_execve)) == UInt32(SECCOMP_RET_TRAP))
    #expect(run(program, Call(number: SYS_read)) == UInt32(SECCOMP_RET_ALLOW))
  }

  // MARK: on a process

  /// Runs the probe, which takes the program in hexadecimal digits and tries what a thief would.
  private func probe(_ refusal: SystemCallFilter.Refusal) throws -> (stdout: String, stderr: String) {
    let filter = SystemCallFilter.serving([SocketKind(.tcp, .v4)])
    let text = filter.program(refusal).withUnsafeBytes { bytes in
      bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("probe")
    process.arguments = ["confine", text] + (refusal == .toldFailure ? ["--tell"] : [])
    let (output, errors) = (Pipe(), Pipe())
    process.standardOutput = output
    process.standardError = errors
    try process.run()
    let stdout = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    let stderr = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationReason == .exit && process.terminationStatus == 0, "\(stdout)\(stderr)")
    return (stdout, stderr)
  }

  @Test func theKernelAgrees() throws {
    let lines = try probe(.failure).stdout.split(separator: "\n")
    #expect(lines.count > 12)
    for line in lines {
      let words = line.split(separator: " ")
      #expect(words.last == (words.first == "allowed" ? "0" : "\(EPERM)"), "\(line)")
    }
  }

  @Test func theKernelTells() throws {
    let (stdout, stderr) = try probe(.toldFailure)
    for line in stdout.split(separator: "\n") where line.hasPrefix("refused") {
      #expect(line.hasSuffix(" \(EPERM)"), "\(line)")
    }
    #expect(stderr.contains("portmap: refused system call \(SYS_execve)\n"), "\(stderr)")
    #expect(!stderr.contains("refused system call \(SYS_read)\n"))
  }
}
