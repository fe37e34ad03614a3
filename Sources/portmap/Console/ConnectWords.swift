// Why connections are not led as they connect, in words.

extension ConnectError: CustomStringConvertible {
  var description: String {
    switch self {
    case .leftOut: "PORTMAP_CONNECT is 0"
    case .notPermitted: "the program on connect(2) takes root on the host (CAP_SYS_ADMIN, CAP_NET_ADMIN)"
    case .oldKernel: "the program on connect(2) takes Linux 5.14 or later"
    case .noCgroups(let error): "the program on connect(2) takes cgroups of version 2: \(error.reason)"
    case .cgroupNamespace:
      "the program on connect(2) belongs to the host's root cgroup, and this is a cgroup namespace"
    case .exclusive: "the root cgroup has a program on connect(2) that allows no other beside it"
    case .otherLayout: "another version of portmap has its program on connect(2) here"
    case .refused(let error, let words):
      "the kernel refuses the program on connect(2), which takes Linux 5.14 or later: \(error.reason)"
        + (words.isEmpty ? "" : ": \(words)")
    case .busy: "another process keeps the root cgroup locked"
    case .system(let error): "program on connect(2): \(error)"
    }
  }
}
