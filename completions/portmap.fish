# fish completion for portmap

# The words in front of the cursor, and whether the command (its first operand) is one of those given.
function __portmap_using
    set -l words (commandline -opc)
    contains -- "$words[2]" $argv
    and not __portmap_passes
end

function __portmap_first
    test (count (commandline -opc)) -eq 1
end

# Whether what is typed belongs to the command behind the -- of map and alloc.
function __portmap_passes
    set -l words (commandline -opc)
    contains -- "$words[2]" map alloc
    and contains -- -- $words
end

function __portmap_pass
    set -l words (commandline -opc)
    set -l place (contains -i -- -- $words)
    set -l rest
    if test $place -lt (count $words)
        set rest (string escape -- $words[(math $place + 1)..-1])
    end
    complete -C (string join -- ' ' $rest (commandline -ct))
end

# Asks portmap itself, about the state folder that the command line names.
function __portmap_identifiers
    set -l words (commandline -opc)
    set -l folder
    if set -l place (contains -i -- --state-dir $words)
        set folder --state-dir $words[(math $place + 1)]
    else
        set folder (string match -- '--state-dir=*' $words)
    end
    set -l table (command $words[1] list $folder 2>/dev/null)
    for identifier in (command $words[1] list -q $folder 2>/dev/null)
        # What stands first in its line says what it is.
        printf '%s\t%s\n' $identifier (string replace -rf -- "^(\S+) .* $identifier(?: .*)?\$" '$1' $table)
    end
end

function __portmap_names
    __portmap_identifiers | string match -rv '^[a-f][0-9a-f]{7}\t'
end

function __portmap_namespaces
    ip netns list 2>/dev/null | string replace -r ' .*' ''
end

function __portmap_bridges
    ip -brief link show type bridge 2>/dev/null | string replace -r ' .*' ''
end

function __portmap_addresses
    ip -oneline address show 2>/dev/null | string match -v '* fe80:*' | string replace -rf '.* inet6? ([0-9a-f.:]+).*' '$1'
end

complete -c portmap -f

complete -c portmap -n __portmap_first -a map -d 'map ports of this host to a backend'
complete -c portmap -n __portmap_first -a unmap -d 'release mappings, reservations and addresses'
complete -c portmap -n __portmap_first -a alloc -d 'reserve ports, or an address'
complete -c portmap -n __portmap_first -a list -d 'show mappings, reservations and addresses'
complete -c portmap -n __portmap_first -a proxy -d 'forward in the foreground'
complete -c portmap -n __portmap_first -a check -d 'compare what is recorded with what is there'
complete -c portmap -n __portmap_first -a repair -d 'make what is there agree with what is recorded'
complete -c portmap -n __portmap_first -l version -d 'tell the version'
complete -c portmap -n __portmap_first -s h -l help -d 'explain portmap'

set -l all map unmap alloc list proxy check repair
complete -c portmap -n "__portmap_using $all" -l json -d 'print one JSON document'
complete -c portmap -n "__portmap_using $all" -s q -l quiet -d 'print less'
complete -c portmap -n "__portmap_using $all" -s v -l verbose -d 'show each command that is run'
complete -c portmap -n "__portmap_using $all" -l state-dir -xa '(__fish_complete_directories)' -d 'where the state is'
complete -c portmap -n "__portmap_using $all" -s h -l help -d 'explain the command'
complete -c portmap -n '__portmap_using map unmap alloc repair' -s n -l dry-run -d 'print what would be run'
complete -c portmap -n '__portmap_using map alloc' -l host-ip -xa '(__portmap_addresses)' -d 'the address of this host'
complete -c portmap -n '__portmap_using map alloc' -l range -x -d 'where ports are allocated'
complete -c portmap -n '__portmap_using map alloc' -l bridge -xa '(__portmap_bridges)' -d 'the bridge network'
complete -c portmap -n '__portmap_using map proxy' -l proxy-protocol -xa 'v1 v2' -d 'begin each connection with a header'

complete -c portmap -n '__portmap_using map' -l to -xa '(__portmap_names; __portmap_namespaces)' -d 'the backend'
complete -c portmap -n '__portmap_using map' -l no-proxy -d 'rules only'
complete -c portmap -n '__portmap_using map' -l proxy-only -d 'no rules'
complete -c portmap -n '__portmap_using map' -l masquerade -d 'rewrite the source of this traffic'

complete -c portmap -n '__portmap_using unmap' -l if-exists -d 'a target that is nowhere is no failure'
complete -c portmap -n '__portmap_using unmap' -l all -d 'release everything'
complete -c portmap -n '__portmap_using unmap list' -a '(__portmap_identifiers)'

complete -c portmap -n '__portmap_using alloc' -s c -l count -x -d 'how many of each'
complete -c portmap -n '__portmap_using alloc' -l lend -d 'let a server bind the port itself'
complete -c portmap -n '__portmap_using alloc' -l ip -d 'an address of the bridge network'
complete -c portmap -n '__portmap_using alloc' -l netns -xa '(__portmap_namespaces)' -d 'plug this namespace in'
complete -c portmap -n '__portmap_using alloc' -l name -x -d 'what the address is called'
complete -c portmap -n '__portmap_using alloc' -l subnet -x -d 'the network of a new bridge'

complete -c portmap -n '__portmap_using proxy' -l udp-timeout -x -d 'when an idle udp client is forgotten'

complete -c portmap -n __portmap_passes -a '(__portmap_pass)'
