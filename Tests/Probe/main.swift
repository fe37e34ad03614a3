import Glibc

// A client or server for one question at a time, run by the integration tests inside a network namespace.
signal(SIGPIPE, SIG_IGN)
exit(Command.run(Array(CommandLine.arguments.dropFirst())))
