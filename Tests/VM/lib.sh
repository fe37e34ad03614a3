# shellcheck shell=dash
# What the checks are made of. Each prints a line, `ok WHAT` or `not ok WHAT`, and what was got instead.

# The kind of iptables that is in use: begins each line.
backend=

# ok WHAT / bad WHAT GOT...
ok() { echo "ok $backend $*"; }
bad() {
  echo "not ok $backend $1"
  shift
  echo "$*" | sed 's/^/#   /'
}

# is WHAT WANTED GOT
is() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "wanted: $2
got:    $3"; fi; }

# like WHAT PATTERN GOT, a pattern of the shell's
# shellcheck disable=SC2254
like() { case $3 in $2) ok "$1" ;; *) bad "$1" "wanted: $2
got:    $3" ;; esac; }

# Runs a command with a limit. Prints its stdout on one line; when it fails, its stderr and "(status N)" after it.
# Both are in /tmp/output and /tmp/errors.
try() {
  local status=0
  timeout 30 "$@" >/tmp/output 2>/tmp/errors || status=$?
  { cat /tmp/output; if [ $status != 0 ]; then cat /tmp/errors; echo "(status $status)"; fi; } |
    head -c 1000 | tr '\n' ' ' | sed 's/ $//'
}

# status WHAT WANTED COMMAND...: by its exit status.
status() {
  local what=$1 wanted=$2 got=0
  shift 2
  timeout 30 "$@" >/tmp/output 2>/tmp/errors || got=$?
  if [ $got = "$wanted" ]; then ok "$what"; else bad "$what" "$* ended with $got, not $wanted
$(cat /tmp/output /tmp/errors)"; fi
}

# asks WHAT WANTED NAMESPACE PROTO ADDR PORT...: by the answer, a pattern.
asks() {
  local what=$1 wanted=$2 where=$3
  shift 3
  if [ "$where" = host ]; then like "$what" "$wanted" "$(try probe ask "$@")"; else
    like "$what" "$wanted" "$(try ip netns exec "$where" probe ask "$@")"
  fi
}

# Every rule, chain and link of the host, without counters and comments of iptables-save's own.
snapshot() {
  { iptables-save; ip6tables-save; } 2>/dev/null | sed '/^#/d; /^COMMIT/d; /^\*/d; /^:[A-Z]* ACCEPT /d; s/ \[.*//'
  ip -o link | cut -d: -f2
}

# The sockets that hold a port: their inodes.
inodes() { # PROTO PORT
  case $1 in
    # ENDPT SOCK STY SST HBKT LPORT UID INODE LADDRS
    sctp) awk -v port="$2" '$6 == port { print $8 }' /proc/net/sctp/eps ;;
    *) awk -v port="$(printf ':%04X' "$2")" 'substr($2, length($2) - 4) == port && $4 ~ /^0[A7]$/ { print $10 }' \
      "/proc/net/$1" "/proc/net/${1}6" ;;
  esac
}

# The host's SCTP associations that have to do with ports that begin so.
associations() { awk -v start="$1" 'NR > 1 && ($12 ~ "^" start || $13 ~ "^" start)' /proc/net/sctp/assocs; }
no_association() { [ -z "$(associations "$1")" ]; }

# The command lines that begin with a program's name; busybox's ps puts the process's name before some.
# shellcheck disable=SC2009
processes() { ps -o args | grep -E "^(\{[^}]*\} )?([^ ]*/)?$1( |\$)"; }

# wait_for COMMAND...: until it succeeds, 5 seconds at most.
wait_for() {
  local tries=0
  until "$@" || [ $tries = 50 ]; do
    sleep 0.1
    tries=$((tries + 1))
  done
}
