import Foundation
import Testing

extension Portmap {
  /// Traces the program until it starts one that is called with the given word (ptrace(2)), stops that before its first
  /// instruction, tells its number in a file, and lets go of both.
  private static let tracer = """
    import ctypes, os, signal, sys
    SEIZE, CONT, LISTEN, EXEC, STOP = 0x4206, 7, 0x4208, 4, 128
    FORKS_AND_EXECS, ALL_KINDS = 2 | 4 | 8 | 16, 0x40000000
    call = ctypes.CDLL(None).ptrace
    call.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    word, file, program = sys.argv[1].encode(), sys.argv[2], sys.argv[3:]
    main, (ready, go) = os.getpid(), os.pipe()
    if os.fork():
        os.read(ready, 1)
        os.execv(program[0], program)
    call(SEIZE, main, None, FORKS_AND_EXECS)
    os.write(go, b"1")
    while True:
        pid, status = os.waitpid(-1, ALL_KINDS)
        if not os.WIFSTOPPED(status):
            if pid == main: sys.exit(1)
            continue
        event, number = status >> 16, os.WSTOPSIG(status)
        if event == EXEC and open(f"/proc/{pid}/cmdline", "rb").read().split(b"\\0")[1:2] == [word]:
            os.kill(pid, signal.SIGSTOP)
            with open(file + ".new", "w") as out: out.write(str(pid))
            os.rename(file + ".new", file)
            os._exit(0)
        if event == STOP and number != signal.SIGTRAP: call(LISTEN, pid, None, None)
        else: call(CONT, pid, None, number if event == 0 else None)
    """

  /// Starts one command line, and stops the process that it starts with this word before that does anything.
  func start(_ arguments: [String], holdingUp word: String) throws -> (command: ChildProcess, process: pid_t)
  {
    let file = state + "-\(word)-pid"
    try? FileManager.default.removeItem(atPath: file)
    var traced = self
    traced.prefix += ["/usr/bin/python3", "-c", Self.tracer, word, file]
    let command = try traced.start(arguments)
    let deadline = Date() + 10
    while !FileManager.default.fileExists(atPath: file), Date() < deadline { usleep(1000) }
    let text = try String(contentsOfFile: file, encoding: .utf8)
    let process = try #require(pid_t(text))
    // The tracer is gone, and the signal has been delivered.
    while try ProcessState.status(process)["State"]?.first != "T", Date() < deadline { usleep(1000) }
    return (command, process)
  }
}
