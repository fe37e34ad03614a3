import Glibc

let words = Array(CommandLine.arguments.dropFirst())
// The background process is told apart first: it must not touch what the commands need, Foundation above all. Only
// portmap itself hands a socket of its own over; whoever types these words has mistyped a command.
switch UnixSocket.isOne(3) ? words.first : nil {
case HolderLauncher.command: exit(Holder.run(Array(words.dropFirst())))
case Supervision.command: exit(Supervision.stage())
default: exit(Run.main(words))
}
