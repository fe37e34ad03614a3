import CLinux
import Glibc

/// The system calls that a process may still make: whatever is not listed is refused.
///
/// The kernel runs it as a classic BPF program before every call (seccomp(2)). Calls without conditions on their
/// arguments come first, and cost nothing where the kernel remembers its answers (from 5.11 on).
struct SystemCallFilter: Equatable {
  /// A call that is allowed where all conditions hold. Several rules can be about the same call.
  struct Rule: Equatable {
    let name: String
    let number: Int32
    var conditions: [Condition] = []
  }

  /// What one argument, counted from 0, must be in the bits of the mask: bits of its lower half, which is all that the
  /// kernel looks at of an `int`.
  struct Condition: Equatable {
    let argument: Int
    var mask = UInt32.max
    let value: UInt32
  }

  /// What becomes of a call that is refused.
  enum Refusal {
    /// It fails with EPERM.
    case failure
    /// The same by way of a handler that tells of it (clinux_tell_refused_calls).
    case toldFailure

    fileprivate var action: UInt32 {
      switch self {
      case .failure: UInt32(SECCOMP_RET_ERRNO) | UInt32(EPERM)
      case .toldFailure: UInt32(SECCOMP_RET_TRAP)
      }
    }
  }

  let rules: [Rule]

  /// The program for the processor that this was built for; calls in the manner of another one (32-bit ones, x32) are
  /// refused with the rest.
  func program(_ refusal: Refusal) -> [sock_filter] {
    var program = [
      Self.load(MemoryLayout<seccomp_data>.offset(of: \.arch)),
      Self.jump(BPF_JEQ, clinux_architecture, past: 1, otherwisePast: 0),
      Self.answer(refusal.action),
      Self.load(MemoryLayout<seccomp_data>.offset(of: \.nr)),
    ]
    for rule in rules where rule.conditions.isEmpty {
      program.append(Self.jump(BPF_JEQ, UInt32(rule.number), past: 0, otherwisePast: 1))
      program.append(Self.answer(UInt32(SECCOMP_RET_ALLOW)))
    }
    for rule in rules where !rule.conditions.isEmpty { program += Self.instructions(for: rule) }
    program.append(Self.answer(refusal.action))
    return program
  }

  /// Asks for the number, then for each condition, and goes on behind the rule at the first that is not met.
  private static func instructions(for rule: Rule) -> [sock_filter] {
    let size = 2 + 3 * rule.conditions.count + 1
    var part = [load(MemoryLayout<seccomp_data>.offset(of: \.nr))]
    part.append(jump(BPF_JEQ, UInt32(rule.number), past: 0, otherwisePast: size - 2))
    for condition in rule.conditions {
      let arguments = MemoryLayout<seccomp_data>.offset(of: \.args) ?? 0
      part.append(load(arguments + condition.argument * MemoryLayout<UInt64>.size))
      part.append(sock_filter(code: UInt16(BPF_ALU | BPF_AND | BPF_K), jt: 0, jf: 0, k: condition.mask))
      part.append(jump(BPF_JEQ, condition.value, past: 0, otherwisePast: size - part.count - 1))
    }
    part.append(answer(UInt32(SECCOMP_RET_ALLOW)))
    return part
  }

  private static func load(_ offset: Int?) -> sock_filter {
    sock_filter(code: UInt16(BPF_LD | BPF_W | BPF_ABS), jt: 0, jf: 0, k: UInt32(offset ?? 0))
  }

  /// Goes past so many of the next instructions.
  private static func jump(_ test: Int32, _ value: UInt32, past: Int, otherwisePast: Int) -> sock_filter {
    sock_filter(code: UInt16(BPF_JMP | test | BPF_K), jt: UInt8(past), jf: UInt8(otherwisePast), k: value)
  }

  private static func answer(_ action: UInt32) -> sock_filter {
    sock_filter(code: UInt16(BPF_RET | BPF_K), jt: 0, jf: 0, k: action)
  }
}

extension SystemCallFilter {
  /// What a process needs that relays between sockets that are open and sockets of these kinds to its backends, answers
  /// on a control socket, and ends.
  ///
  /// There is no call in it by which a program, a file or another process could be reached.
  static func serving(_ sockets: Set<SocketKind>) -> SystemCallFilter {
    let udp = sockets.contains { $0.type == Transport.udp.socketType }
    let rules = traffic + (udp ? [binding] : []) + memory + language + conditional
    return SystemCallFilter(rules: rules + sockets.map(Rule.init(opening:)))
  }

  /// The relay chooses the ports of its udp clients itself.
  private static let binding = Rule(name: "bind", number: SYS_bind)

  private static let traffic: [Rule] =
    waiting + [
      Rule(name: "recvfrom", number: SYS_recvfrom), Rule(name: "sendto", number: SYS_sendto),
      Rule(name: "read", number: SYS_read), Rule(name: "write", number: SYS_write),
      Rule(name: "splice", number: SYS_splice), Rule(name: "recvmmsg", number: SYS_recvmmsg),
      Rule(name: "sendmmsg", number: SYS_sendmmsg), Rule(name: "recvmsg", number: SYS_recvmsg),
      Rule(name: "sendmsg", number: SYS_sendmsg), Rule(name: "epoll_ctl", number: SYS_epoll_ctl),
      Rule(name: "accept4", number: SYS_accept4), Rule(name: "connect", number: SYS_connect),
      Rule(name: "shutdown", number: SYS_shutdown), Rule(name: "close", number: SYS_close),
      Rule(name: "getsockopt", number: SYS_getsockopt), Rule(name: "setsockopt", number: SYS_setsockopt),
      Rule(name: "getsockname", number: SYS_getsockname), Rule(name: "getpeername", number: SYS_getpeername),
      Rule(name: "pipe2", number: SYS_pipe2),
    ]

  /// Glibc calls the older ones where the processor has them.
  private static let waiting: [Rule] = {
    #if arch(x86_64)
      let older = [
        Rule(name: "epoll_wait", number: SYS_epoll_wait), Rule(name: "poll", number: SYS_poll),
      ]
    #else
      let older: [Rule] = []
    #endif
    return older + [
      Rule(name: "epoll_pwait", number: SYS_epoll_pwait), Rule(name: "ppoll", number: SYS_ppoll),
    ]
  }()

  private static let memory = [
    Rule(name: "brk", number: SYS_brk), Rule(name: "munmap", number: SYS_munmap),
    Rule(name: "mremap", number: SYS_mremap), Rule(name: "madvise", number: SYS_madvise),
  ]

  /// What Swift's runtime and Glibc do beside: locks, hash seeds, clocks where the kernel's own page has none, signals,
  /// the end.
  private static let language = [
    Rule(name: "futex", number: SYS_futex), Rule(name: "getrandom", number: SYS_getrandom),
    Rule(name: "clock_gettime", number: SYS_clock_gettime),
    Rule(name: "sched_yield", number: SYS_sched_yield),
    Rule(name: "rt_sigreturn", number: SYS_rt_sigreturn),
    Rule(name: "rt_sigprocmask", number: SYS_rt_sigprocmask),
    Rule(name: "restart_syscall", number: SYS_restart_syscall), Rule(name: "getpid", number: SYS_getpid),
    Rule(name: "gettid", number: SYS_gettid), Rule(name: "exit", number: SYS_exit),
    Rule(name: "exit_group", number: SYS_exit_group),
  ]

  /// Memory that nothing can be run from, and a pipe's size and whether a descriptor blocks.
  private static let conditional: [Rule] =
    [("mmap", SYS_mmap), ("mprotect", SYS_mprotect)].map { name, number in
      Rule(
        name: name,
        number: number,
        conditions: [Condition(argument: 2, mask: UInt32(PROT_EXEC), value: 0)]
      )
    }
    + [F_GETFL, F_SETFL, clinux_set_pipe_size_command].map { command in
      Rule(name: "fcntl", number: SYS_fcntl, conditions: [Condition(argument: 1, value: UInt32(command))])
    }
}

extension SystemCallFilter.Rule {
  /// Opens a socket for a backend. The flags of its type are nobody's concern.
  fileprivate init(opening kind: SocketKind) {
    self.init(
      name: "socket",
      number: SYS_socket,
      conditions: [
        .init(argument: 0, value: UInt32(kind.family)),
        // SOCK_TYPE_MASK of the kernel.
        .init(argument: 1, mask: 0xF, value: UInt32(kind.type)),
        .init(argument: 2, value: UInt32(kind.number)),
      ]
    )
  }
}
