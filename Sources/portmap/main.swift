import Glibc

let words = Array(CommandLine.arguments.dropFirst())
// The background process is told apart first: it must not touch what the commands need, Foundation above all.
exit(words.first == HolderLauncher.command ? Holder.run(Array(words.dropFirst())) : Run.main(words))
