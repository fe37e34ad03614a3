import CLinux
import Glibc

/// What the watcher hears and sees: the kernel's news, folders, and the ends of background processes.
///
/// Only what the last pass has found to be there is listened to: nobody is woken for what does not matter.
final class WatchSenses {
  /// Told of each reason to look.
  var hear: (WatchSchedule.Reason) -> Void = { _ in }
  /// Told of each background process that has died.
  var hearOfDeath: (WatchedProcess) -> Void = { _ in }

  private let statePath: StatePath
  private let environment: [String: String]
  private let loop: EventLoop

  private let network: NetlinkListener
  private var rules: (listener: NetlinkListener, registration: Registration)?
  private let folders: FolderWatch
  private var places: [Int32: Set<Place>] = [:]
  private var watched: [String: Watched] = [:]
  /// The state and the rules as the last pass has left them.
  private var mark: StateMark?
  /// Whether there was a state after the last pass, or would have been if nobody had removed it.
  private var hadState = false
  private var rulesGeneration: UInt32?

  /// What a folder is watched for.
  private enum Place { case state, namespaces, aboveNamespaces, programs }

  private struct Watched {
    let process: WatchedProcess
    /// Nil for a process that has died already.
    var end: (pidfd: Descriptor, registration: Registration)?
  }

  private static let namespaces = "/run/netns"
  private static let program = "iptables-restore"

  init(_ statePath: StatePath, _ environment: [String: String], _ loop: EventLoop) throws {
    self.statePath = statePath
    self.environment = environment
    self.loop = loop
    network = try NetlinkListener.network()
    folders = try FolderWatch()
    _ = try loop.add(
      network.socket,
      events: Readiness.input,
      handler: Handler { [unowned self] in readNetwork() }
    )
    _ = try loop.add(
      folders.descriptor,
      events: Readiness.input,
      handler: Handler { [unowned self] in readFolders() }
    )
    watchFolders()
  }

  /// Whether changes of rules are heard of.
  var hearsOfRules: Bool { rules != nil }

  /// The background processes that are watched.
  var processes: [WatchedProcess] { watched.values.map(\.process) }

  // MARK: what there is to do

  /// What a pass is to do for some reasons; nil where nothing has changed.
  ///
  /// - Parameter isToApply: Whether there are declarations that were not applied yet.
  func job(for work: WatchSchedule.Work, isToApply: Bool, _ facts: PassEnd) -> PassJob? {
    let now = currentMark
    if hadState, now == nil {
      endOrphans()
      return PassJob(kind: .restart)
    }
    if isToApply { return PassJob(kind: .apply, spared: work.spared, expectsState: hadState) }
    var reasons = work.reasons.subtracting([.files])
    if now == mark { reasons.remove(.state) }
    if reasons.contains(.rules), let rulesGeneration, NFTablesGeneration.current() == rulesGeneration {
      reasons.remove(.rules)
    }
    guard !reasons.isEmpty else { return nil }
    let retries = !reasons.isDisjoint(with: [.links, .routes, .namespaces, .state, .programs, .retry])
    let kind: PassJob.Kind = facts.hasFailures && retries ? .retry : .keep
    return PassJob(kind: kind, spared: work.spared, expectsState: hadState)
  }

  private var currentMark: StateMark? { (try? StateFolder.look(at: statePath)).flatMap { StateMark($0) } }

  /// Ends the background processes that nobody can talk to any more, since their control sockets are gone.
  private func endOrphans() {
    let folder = try? StateFolder.look(at: statePath)
    let orphans = watched.values.filter { folder?.has(ControlSocket.name($0.process.id)) != true }
    for orphan in orphans { orphan.process.process.kill() }
  }

  // MARK: what there is to attend to

  /// Attends from now on to what a pass has found.
  func attend(to end: PassEnd, _ processes: [WatchedProcess]) {
    mark = end.mark
    hadState = end.mark != nil || end.isLost
    rulesGeneration = end.rulesGeneration
    watch(processes)
    watchFolders()
    listenToRules(end.hasRules && end.isNFTables)
  }

  private func listenToRules(_ isWanted: Bool) {
    guard isWanted else {
      if let rules { loop.remove(rules.registration) }
      return rules = nil
    }
    guard rules == nil, let listener = try? NetlinkListener.rules() else { return }
    let handler = Handler { [unowned self] in
      if rules?.listener.news().isEmpty == false { hear(.rules) }
    }
    guard let registration = try? loop.add(listener.socket, events: Readiness.input, handler: handler) else {
      return
    }
    rules = (listener, registration)
    // What came before is not heard of.
    hear(.rules)
  }

  private func watch(_ processes: [WatchedProcess]) {
    let ids = Set(processes.map(\.id))
    for (id, former) in watched where !ids.contains(id) {
      if let end = former.end { loop.remove(end.registration) }
      watched[id] = nil
    }
    for process in processes where watched[process.id] == nil {
      watched[process.id] = Watched(process: process, end: nil)
      let pidfd = pidfd(of: process.process)
      let handler = Handler { [unowned self] in died(process) }
      if let pidfd, let place = try? loop.add(pidfd, events: Readiness.input, handler: handler) {
        watched[process.id]?.end = (pidfd, place)
      } else {
        hearOfDeath(process)
      }
    }
  }

  /// Nil where the process is gone.
  private func pidfd(of process: ProcessIdentity) -> Descriptor? {
    var raw = clinux_pidfd_open(process.pid)
    if raw < 0, errno == EMFILE {
      let limit = DescriptorLimit.current
      DescriptorLimit(soft: limit.hard, hard: limit.hard).set()
      raw = clinux_pidfd_open(process.pid)
    }
    guard raw >= 0 else { return nil }
    let pidfd = Descriptor(owning: raw)
    return ProcessIdentity(pidfd) == process ? pidfd : nil
  }

  private func died(_ process: WatchedProcess) {
    guard let end = watched[process.id]?.end else { return }
    // As the first process of a container it is the parent of all that have lost theirs.
    waitpid(process.process.pid, nil, WNOHANG)
    loop.remove(end.registration)
    watched[process.id]?.end = nil
    hearOfDeath(process)
  }

  // MARK: news

  private func readNetwork() {
    let news = network.news()
    guard !news.isEmpty else { return }
    hear(news.isOfRoutes ? .routes : .links)
  }

  private func readFolders() {
    var isMoved = false
    for event in folders.events() {
      guard let watch = event.watch else {
        for reason in [.state, .namespaces, .programs] as [WatchSchedule.Reason] { hear(reason) }
        isMoved = true
        continue
      }
      for place in places[watch] ?? [] { take(event, of: place, &isMoved) }
      if event.isLast { places[watch] = nil }
    }
    if isMoved { watchFolders() }
  }

  private func take(_ event: FolderWatch.Event, of place: Place, _ isMoved: inout Bool) {
    switch place {
    case .state where event.name.isEmpty || event.name == StateFile.name:
      hear(.state)
    case .namespaces:
      isMoved = isMoved || event.isLast
      hear(.namespaces)
    case .aboveNamespaces where Self.namespaces.hasSuffix("/\(event.name)") && !event.name.isEmpty:
      isMoved = true
      hear(.namespaces)
    case .programs where event.name.hasPrefix("iptables") || event.name.hasPrefix("ip6tables"):
      isMoved = true
      hear(.programs)
    default: break
    }
  }

  private func watchFolders() {
    var wanted: [(String, Place)] = []
    if let folder = try? StateFolder.look(at: statePath), folder.descriptor.raw >= 0 {
      add("/proc/self/fd/\(folder.descriptor.raw)", .state)
    }
    wanted.append(Files.exists(Self.namespaces) ? (Self.namespaces, .namespaces) : ("/run", .aboveNamespaces))
    wanted += Programs.foldersOnTheWay(to: Self.program, environment).map { ($0, .programs) }
    for (path, place) in wanted { add(path, place) }
  }

  private func add(_ path: String, _ place: Place) {
    if let watch = folders.add(path) { places[watch, default: []].insert(place) }
  }
}
