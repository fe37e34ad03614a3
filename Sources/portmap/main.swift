import Glibc

let words = Array(CommandLine.arguments.dropFirst())
// dockerd's userland proxy and the background process are told apart first: they must not touch what the commands need,
// Foundation above all. Only portmap itself hands a socket of its own over; whoever types the words of the background
// process has mistyped a command.
if DockerProxy.isName(CommandLine.arguments.first) {
  exit(DockerProxy.run(words, version: CommandTable.version))
}
// A container runtime gives no words: its environment says what it wants.
let isPlugin =
  words.isEmpty && CNICall.isMeant(by: CommandLine.arguments.first, getenv(CNICall.commandVariable))
switch UnixSocket.isOne(3) ? words.first : nil {
case HolderLauncher.command: exit(Holder.run(Array(words.dropFirst())))
case Supervision.command: exit(Supervision.stage())
case NamespaceProbe.command: exit(NamespaceProbe.stage())
default: exit(isPlugin ? Run.plugin() : Run.main(words))
}
