# shellcheck shell=dash disable=SC2086
# The checks, in the network of `init`, for one protocol after another and for both kinds of iptables.

# Answers of a server are "NAME PEER LOCAL_PORT MESSAGE".
every_address="0.0.0.0 127.0.0.1 192.0.2.1 :: ::1 2001:db8:1::1"

serve() { # PROTO
  ip netns exec web probe serve "$1" 172.16.42.2 80 web
  ip netns exec web probe serve "$1" 172.16.42.2 9100-9109 range
  ip netns exec web probe serve "$1" 172.16.42.2 81 echo
  ip netns exec web probe serve "$1" 172.16.42.2 82 told
  ip netns exec six probe serve "$1" fd00:99::2 80 six
}

# nobody_takes WHAT PROTO PORT: not on any address, whatever the options.
nobody_takes() {
  is "$2 $1: nobody else can take it" "" "$(try probe steal "$2" "$3" $every_address)"
}

# nobody_answers WHAT PROTO PORT
nobody_answers() {
  local silence="*(status 11)"
  asks "$2 $1: no answer to IPv4 from outside" "$silence" outside "$2" 192.0.2.1 "$3" -t 0.5
  asks "$2 $1: no answer to IPv6 from outside" "$silence" outside "$2" 2001:db8:1::1 "$3" -t 0.5
  asks "$2 $1: no answer on 127.0.0.1" "$silence" host "$2" 127.0.0.1 "$3" -t 0.5
  asks "$2 $1: no answer on ::1" "$silence" host "$2" ::1 "$3" -t 0.5
}

# The connections to the ports of check_unmap at the host's addresses that the kernel tracks, but for loopback's.
flows() { # PROTO
  conntrack -L -f ipv4 -p "$1" -d 192.0.2.1 --orig-port-dst 8080 2>&1 | grep -v "^conntrack v.* 0 flow entries"
  conntrack -L -f ipv6 -p "$1" -d 2001:db8:1::1 --orig-port-dst 8086 2>&1 | grep -v "^conntrack v.* 0 flow entries"
}

# What the newest process of portmap has left of what it was started with: capabilities, new privileges, system calls.
confinement() {
  awk '/^(CapEff|NoNewPrivs|Seccomp):/ { printf "%s ", $2 }' "/proc/$(pidof portmap | cut -d' ' -f1)/status"
}

process_runs() { [ -n "$(processes "$1")" ]; }

# is_free WHAT PROTO PORT
is_free() {
  local refused="*(status 10)"
  is "$2 $1: no socket is left" "" "$(inodes "$2" "$3")"
  status "$2 $1: another server can take it" 0 probe bind "$2" :: "$3"
  asks "$2 $1: refused from outside" "$refused" outside "$2" 192.0.2.1 "$3" -t 2
  asks "$2 $1: refused on ::1" "$refused" host "$2" ::1 "$3" -t 2
}

check_reservation() { # PROTO
  local port
  port=$(try portmap alloc "0/$1")
  like "$1 alloc: a port of the automatic range" "[456]????" "$port"
  status "$1 alloc: by number" 0 portmap alloc "8070/$1"
  is "$1 alloc: prints the number" 8070 "$(cat /tmp/output)"
  is "$1 alloc: the process that holds it is confined" "0000000000000000 1 2 " "$(confinement)"
  nobody_takes "alloc" "$1" 8070
  nobody_answers "alloc" "$1" 8070
  status "$1 alloc: a reserved port is a conflict" 3 portmap alloc "8070/$1"
  status "$1 unmap of the reservations" 0 portmap unmap "8070/$1" "$port/$1"
  is_free "unmapped reservation" "$1" 8070
}

check_conflict() { # PROTO
  local before
  probe serve "$1" 127.0.0.1 8071 stranger
  before=$(snapshot)
  status "$1 alloc: a stranger's port is a conflict" 3 portmap alloc "8071/$1"
  like "$1 alloc: the conflict is named" "portmap: cannot *8071*: address already in use*" "$(cat /tmp/errors)"
  status "$1 map: a stranger's port is a conflict" 3 portmap map "8071:80/$1" --to web
  is "$1 map: a conflict changes no rule" "$before" "$(snapshot)"
  is "$1 alloc: a range steps over a stranger" 8072 "$(try portmap alloc "8071-8072/$1")"
  status "$1 alloc: a range that is full is a conflict" 3 portmap alloc "8071-8072/$1"
  status "$1 unmap: the one of the range" 0 portmap unmap "8072/$1"
  killall -q probe
  serve "$1"
}

# A reserved port becomes a mapping, and who called in the meantime gets through. One SYN or INIT is eaten by the
# filter, its retry comes a second (TCP) or three (SCTP) later. A datagram is lost: the client asks once more, from
# the same port.
check_takeover() { # PROTO
  local socket caller
  portmap alloc "8080/$1" >/dev/null
  socket=$(inodes "$1" 8080)
  like "$1 takeover: the reserved port has a socket" "[0-9]*" "$socket"
  if [ "$1" = udp ]; then
    asks "udp takeover: no answer before" "*(status 11)" outside udp 192.0.2.1 8080 -b 192.0.2.2/40000 -t 0.5
  else
    ip netns exec outside probe ask "$1" 192.0.2.1 8080 -b 192.0.2.2/40000 -t 15 >/tmp/caller 2>&1 &
    caller=$!
    sleep 0.5
  fi
  is "$1 takeover: map prints the line" "8080->172.16.42.2:80$suffix" \
    "$(try portmap map "8080:80/$1" --to web)"
  is "$1 takeover: the socket is the same" "$socket" "$(inodes "$1" 8080)"
  if [ "$1" = udp ]; then
    asks "udp takeover: the same client by DNAT" "web 192.0.2.2 80 hello" \
      outside udp 192.0.2.1 8080 -b 192.0.2.2/40000
  else
    wait "$caller" || true
    is "$1 takeover: who called before gets through by DNAT" "web 192.0.2.2 80 hello" "$(cat /tmp/caller)"
  fi
}

# 8080 is mapped to `web`, port 80.
check_ways() { # PROTO
  local answer
  nobody_takes "map" "$1" 8080
  asks "$1 map: from outside by DNAT" "web 192.0.2.2 80 hello" outside "$1" 192.0.2.1 8080
  asks "$1 map: from the host to its own address" "web 1* 80 hello" host "$1" 192.0.2.1 8080
  asks "$1 map: from the host to the bridge's" "web 1* 80 hello" host "$1" 172.16.42.1 8080
  asks "$1 map: 127.0.0.1 by the proxy" "web 172.16.42.1 80 hello" host "$1" 127.0.0.1 8080
  asks "$1 map: ::1 by the proxy" "web 172.16.42.1 80 hello" host "$1" ::1 8080
  asks "$1 map: IPv6 from outside by the proxy" "web 172.16.42.1 80 hello" outside "$1" 2001:db8:1::1 8080
  asks "$1 map: the guest itself" "web 172.16.42.1 80 hello" web "$1" 192.0.2.1 8080
  if [ "$1" != tcp ]; then
    # Each message is one message on the other side.
    answer=$(try probe ask "$1" 127.0.0.1 8080 one two three)
    is "$1 map: the proxy keeps messages apart" \
      "web 172.16.42.1 80 one web 172.16.42.1 80 two web 172.16.42.1 80 three" "$answer"
  fi
}

check_bulk() { # PROTO
  if [ "$1" = udp ]; then return; fi
  portmap map "8081:81/$1" --to web >/dev/null
  is "$1 bulk: 4 MB by the proxy" "echoed 4194304" "$(try probe bulk "$1" 127.0.0.1 8081 4194304 16384)"
  is "$1 bulk: 4 MB by DNAT" "echoed 4194304" \
    "$(try ip netns exec outside probe bulk "$1" 192.0.2.1 8081 4194304 16384)"
  status "$1 bulk: unmap" 0 portmap unmap "8081/$1"
}

check_ipv6() { # PROTO
  is "$1 IPv6: map prints the line" "8086->[fd00:99::2]:80$suffix" \
    "$(try portmap map "8086:80/$1" --to fd00:99::2)"
  asks "$1 IPv6: from outside by DNAT" "six 2001:db8:1::2 80 hello" outside "$1" 2001:db8:1::1 8086
  asks "$1 IPv6: from the host to its own address" "six * 80 hello" host "$1" 2001:db8:1::1 8086
  asks "$1 IPv6: ::1 by the proxy" "six fd00:99::1 80 hello" host "$1" ::1 8086
  asks "$1 IPv6: 127.0.0.1 by the proxy" "six fd00:99::1 80 hello" host "$1" 127.0.0.1 8086
  asks "$1 IPv6: IPv4 from outside by the proxy" "six fd00:99::1 80 hello" outside "$1" 192.0.2.1 8086
}

check_ranges() { # PROTO
  is "$1 range: map prints one line" "9000-9009->172.16.42.2:9100-9109$suffix" \
    "$(try portmap map "9000-9009:9100-9109/$1" --to web)"
  is "$1 range: one rule" 1 "$(iptables-save -t nat | grep -c -e '--to-destination .*9100-9109')"
  for offset in 0 4 9; do
    asks "$1 range: 900$offset by DNAT" "range 192.0.2.2 910$offset hello" outside "$1" 192.0.2.1 "900$offset"
    asks "$1 range: 900$offset by the proxy" "range 172.16.42.1 910$offset hello" host "$1" ::1 "900$offset"
  done
  status "$1 range: unmap" 0 portmap unmap "9000-9009/$1"
  is_free "unmapped range" "$1" 9004
}

# With what no rule takes part in: an ordinary user's ports, the proxy in the foreground, sockets handed to a program.
check_without_rules() { # PROTO
  local user="setpriv --reuid 1000 --regid 1000 --clear-groups" pid
  status "$1 user: alloc" 0 $user portmap alloc "8090/$1"
  nobody_takes "user" "$1" 8090
  status "$1 user: map by the proxy alone" 0 $user portmap map --proxy-only "8090:80/$1" --to 172.16.42.2
  asks "$1 user: from outside by the proxy" "web 172.16.42.1 80 hello" outside "$1" 192.0.2.1 8090
  status "$1 user: rules are not permitted" 4 $user portmap map "8091:80/$1" --to 172.16.42.2
  status "$1 user: unmap" 0 $user portmap unmap "8090/$1"
  is_free "user's mapping" "$1" 8090

  rm -f /tmp/proxy
  portmap proxy "8092/$1" 172.16.42.2:80 >/tmp/proxy 2>&1 &
  pid=$!
  wait_for test -s /tmp/proxy
  is "$1 proxy: prints the line" "8092->172.16.42.2:80$suffix" "$(cat /tmp/proxy)"
  asks "$1 proxy: IPv4" "web 172.16.42.1 80 hello" outside "$1" 192.0.2.1 8092
  asks "$1 proxy: IPv6" "web 172.16.42.1 80 hello" outside "$1" 2001:db8:1::1 8092
  kill "$pid"
  wait "$pid"
  is "$1 proxy: SIGTERM ends it with 0" 0 $?

  portmap alloc "8093/$1" -- probe activated handed >/tmp/handed 2>&1 &
  pid=$!
  wait_for process_runs "probe activated"
  asks "$1 alloc -- CMD: serves IPv4" "handed 192.0.2.2 8093 hello" outside "$1" 192.0.2.1 8093
  asks "$1 alloc -- CMD: serves IPv6" "handed ::1 8093 hello" host "$1" ::1 8093
  kill "$pid"
  wait "$pid"
  is "$1 alloc -- CMD: ends as CMD ended" 143 $?
  is_free "alloc -- CMD" "$1" 8093
}

# Called as dockerd calls its proxy: one address, and a word on descriptor 3.
check_docker_proxy() { # PROTO
  local pid
  ln -sf "$(command -v portmap)" /tmp/docker-proxy
  rm -f /tmp/report
  /tmp/docker-proxy -proto "$1" -host-ip 0.0.0.0 -host-port 8095 -container-ip 172.16.42.2 -container-port 80 \
    3>/tmp/report &
  pid=$!
  wait_for test -s /tmp/report
  is "$1 docker-proxy: says that it listens" 0 "$(cat /tmp/report)"
  asks "$1 docker-proxy: IPv4" "web 172.16.42.1 80 hello" outside "$1" 192.0.2.1 8095
  asks "$1 docker-proxy: not IPv6" "*(status 10)" outside "$1" 2001:db8:1::1 8095
  is "$1 docker-proxy: a second one says why not" "1 listen ${1}4 0.0.0.0:8095: bind: address already in use" \
    "$(try sh -c '"$@" 3>&1' sh /tmp/docker-proxy -proto "$1" -host-ip 0.0.0.0 -host-port 8095 \
      -container-ip 172.16.42.2 -container-port 80 | sed 's/, by .*//; s/(status 1)$//')"
  kill "$pid"
  wait "$pid"
  is "$1 docker-proxy: SIGTERM ends it with 0" 0 $?
  is_free "docker-proxy" "$1" 8095
}

# SCTP packets that came to the guest and belong to no association.
strays_in_web() { ip netns exec web grep SctpOutOfBlues /proc/net/sctp/snmp; }

# What is special about SCTP.
check_sctp() { # PROTO
  local strays
  if [ "$1" != sctp ]; then return; fi
  # Streams and payload protocols are what the peers' own protocols go by.
  portmap map 8083:82/sctp --to web >/dev/null
  asks "sctp: stream and payload protocol by DNAT" "told 192.0.2.2 82 hello stream 3 protocol 60" \
    outside sctp 192.0.2.1 8083 -s 3 -p 60
  asks "sctp: stream and payload protocol by the proxy" "told 172.16.42.1 82 hello stream 3 protocol 60" \
    host sctp 127.0.0.1 8083 -s 3 -p 60
  portmap map 8085:81/sctp --to web >/dev/null
  is "sctp: large messages by DNAT" "echoed 2000000" \
    "$(try ip netns exec outside probe bulk sctp 192.0.2.1 8085 2000000 100000)"
  is "sctp: large messages by the proxy" "echoed 2000000" "$(try probe bulk sctp ::1 8085 2000000 100000)"
  # The proxy names all of the host's addresses to a local client. Heartbeats to them belong to the association: taken
  # for new ones by DNAT they end in the guest, and after some time the association does so too.
  strays=$(strays_in_web)
  like "sctp: an association with heartbeats to every address" "told*one* told*two*" \
    "$(try probe ask sctp 127.0.0.1 8083 -w 2 one two)"
  is "sctp: none of them strays into the guest" "$strays" "$(strays_in_web)"
  portmap map --proxy-only 8084:1/sctp --to 172.16.42.2 >/dev/null
  asks "sctp: a backend that refuses ends the client's association" "*(status 1[02])" host sctp 127.0.0.1 8084
  wait_for no_association 8083
  is "sctp: no association outlives its client" "" "$(associations 808)"
  status "sctp: unmap" 0 portmap unmap 8083/sctp 8084/sctp 8085/sctp
  status "sctp: no PROXY header" 2 portmap proxy --proxy-protocol v2 8094/sctp 172.16.42.2:80
  status "sctp: not lent" 2 portmap alloc --lend 8094/sctp
}

# Whether a connection to loopback is led as it connects: the background process cannot answer meanwhile.
is_led() { # WHAT PORT
  local pid
  pid=$(pidof portmap)
  # shellcheck disable=SC2086
  kill -STOP $pid
  asks "connect: $1" "web 172.16.42.1 80 hello" host tcp 127.0.0.1 "$2" -t 5
  # shellcheck disable=SC2086
  kill -CONT $pid
}

# The program on connect(2), on a host where nobody has mounted the cgroups.
check_connect() { # PROTO
  local programs
  if [ "$1" != tcp ]; then return; fi
  is "connect: nothing is attached before" "" "$(try hook list)"
  status "connect: map" 0 portmap map 8087:80 --to web
  like "connect: list tells it" "*nat, connect, proxy*" "$(try portmap list 8087)"
  programs=$(try hook list)
  like "connect: a program a family" "portmap4_r[0-9] portmap6_r[0-9]*" "$programs"
  is_led "127.0.0.1 without the proxy" 8087
  asks "connect: ::ffff:127.0.0.1" "web 172.16.42.1 80 hello" host tcp ::ffff:127.0.0.1 8087
  asks "connect: a client bound to 127.0.0.1 by the proxy" "web 172.16.42.1 80 hello" \
    host tcp 127.0.0.1 8087 -b 127.0.0.1
  # Another program beside it.
  status "connect: somebody else's program beside it" 0 hook attach other
  is_led "beside somebody else's program" 8087
  status "connect: its end" 0 hook detach other
  # An earlier revision, which leads nothing.
  status "connect: an earlier revision in its place" 0 hook replace portmap4_r0
  status "connect: the next command puts its own there" 0 portmap map 8088:80 --to web
  is "connect: the programs are the present ones" "$programs" "$(try hook list)"
  is_led "after the upgrade" 8087
  # Somebody takes it away.
  status "connect: detached by somebody" 0 hook detach portmap
  status "connect: check finds it" 1 portmap check
  like "connect: check names the ports" "8087, 8088: the program *" "$(cat /tmp/output)"
  status "connect: repair" 0 portmap repair
  is_led "after repair" 8088
  is "connect: check agrees" "" "$(try portmap check)"
  status "connect: unmap" 0 portmap unmap 8087 8088
  is "connect: the last one takes the programs away" "" "$(try hook list)"
  # A program that wants to be alone.
  status "connect: a program that allows no other" 0 hook attach alone exclusive
  status "connect: map beside it" 0 portmap map -v 8087:80 --to web
  like "connect: the reason is told" "*the proxy serves loopback: the root cgroup has a program*" "$(cat /tmp/errors)"
  asks "connect: the proxy serves" "web 172.16.42.1 80 hello" host tcp 127.0.0.1 8087
  is "connect: check agrees without" "" "$(try portmap check)"
  status "connect: unmap without" 0 portmap unmap 8087
  status "connect: the other program is still there" 0 hook detach alone
}

check_unmap() { # PROTO
  is "$1 check: no difference" "" "$(try portmap check)"
  is "$1 map: one process a call" 2 "$(processes portmap | wc -l)"
  # Those of SCTP are forgotten 10 seconds after the association's end.
  ip netns exec outside probe ask "$1" 192.0.2.1 8080 >/dev/null
  ip netns exec outside probe ask "$1" 2001:db8:1::1 8086 >/dev/null
  like "$1 map: flows are tracked" "*dport=8080*dport=8086*" "$(flows "$1")"
  status "$1 unmap" 0 portmap unmap "8080/$1" "8086/$1"
  is "$1 unmap: no flow to the host is left" "" "$(flows "$1")"
  is_free "unmap" "$1" 8080
  is_free "unmap" "$1" 8086
  status "$1 unmap: nothing is there any more" 5 portmap unmap "8080/$1"
  is "$1 unmap: no process is left" "" "$(processes portmap)"
}

# check_all FOLDER, that of the names of one kind of iptables
check_all() {
  local before with_bridge
  backend=$1
  PATH=/$1:/usr/sbin:/usr/bin:/sbin:/bin
  like "iptables is the right one" "*($1*" "$(iptables -V | sed s/nf_tables/nft/)"
  # Rules of others, and a policy that forwards nothing.
  for program in iptables ip6tables; do
    $program -P FORWARD DROP
    $program -t nat -A PREROUTING -p udp --dport 1 -j ACCEPT
    $program -t raw -A PREROUTING -p udp --dport 1 -j ACCEPT
  done
  before=$(snapshot)
  is "alloc --netns: the first address" 172.16.42.2 "$(try portmap alloc --netns web)"
  if [ "$1" = nft ]; then
    is "alloc --netns: says what it turned on" "portmap: turned on net.ipv4.ip_forward=1" "$(cat /tmp/errors)"
  fi
  with_bridge=$(snapshot)
  for proto in tcp udp sctp; do
    suffix=/$proto
    if [ $proto = tcp ]; then suffix=""; fi
    serve $proto
    check_takeover $proto
    check_ways $proto
    check_ipv6 $proto
    check_ranges $proto
    # What has nothing to do with rules, once.
    if [ "$backend" = nft ]; then
      check_reservation $proto
      check_conflict $proto
      check_bulk $proto
      check_without_rules $proto
      check_docker_proxy $proto
      check_sctp $proto
    fi
    check_unmap $proto
    # Where nothing else is mapped.
    if [ "$backend" = nft ]; then check_connect $proto; fi
    is "$proto: rules and links are those of the bridge" "$with_bridge" "$(snapshot)"
    killall -q probe
  done
  status "map before unmap --all" 0 portmap map 8080:80 8080:80/udp 8080:80/sctp 8000-8009:9000-9009/sctp --to web
  status "alloc before unmap --all" 0 portmap alloc 8070 8070/udp 8070/sctp
  status "unmap --all" 0 portmap unmap --all
  is "unmap --all: rules and links are as before" "$before" "$(snapshot)"
  is "unmap --all: no process is left" "" "$(processes portmap)"
  is "unmap --all: list is empty" '{"addresses":[],"mappings":[],"reservations":[]}' "$(portmap list --json)"
  for program in iptables ip6tables; do
    $program -P FORWARD ACCEPT
    $program -t nat -F
    $program -t raw -F
  done
}

check_all nft
check_all legacy
