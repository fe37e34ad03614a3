# Functions for test scripts in bash: ports that no other job on this machine gets.
# shellcheck shell=bash
#
#   source harness.sh
#   reserve_port port
#   ./server --port "$port" &
#   wait_for_port "$port"
#   curl "http://127.0.0.1:$port/"

reserved_ports=()

release_ports() {
  [ "${#reserved_ports[@]}" = 0 ] || portmap unmap --if-exists "${reserved_ports[@]}"
}
trap release_ports EXIT

# reserve_port VARIABLE: puts the number of a new port into the variable, until this script ends.
reserve_port() {
  local number
  # Not "reserve_port in a subshell": the list above would not learn of it.
  number=$(portmap alloc --lend) || return
  reserved_ports+=("$number")
  printf -v "$1" '%s' "$number"
}

# wait_for_port PORT: until somebody listens, ten seconds at most.
wait_for_port() {
  local _
  for _ in {1..100}; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
    sleep 0.1
  done
  return 1
}
