import Glibc

let words = Array(CommandLine.arguments.dropFirst())
// The background process is told apart first: it must not touch what the commands need, Foundation above all.
switch words.first {
case HolderLauncher.command: exit(Holder.run(Array(words.dropFirst())))
case Supervision.command: exit(Supervision.stage(Array(words.dropFirst())))
default: exit(Run.main(words))
}
