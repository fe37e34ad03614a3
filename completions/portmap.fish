# fish completion for portmap

# Prints the command: the first word in front of the cursor that is neither an option nor its value.
function __portmap_command
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case --state-dir
                set -q words[2]; and set -e words[2]
            case '-*'
            case '*'
                echo $words[1]
                return 0
        end
        set -e words[1]
    end
    return 1
end

function __portmap_first
    not __portmap_command >/dev/null
end

function __portmap_using
    set -l command (__portmap_command)
    and contains -- $command $argv
    and not __portmap_passes
end

# Whether what is typed belongs to the command behind the -- of map and alloc.
function __portmap_passes
    set -l command (__portmap_command)
    and contains -- $command map alloc
    and contains -- -- (commandline -opc)
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
function __portmap_list
    set -l words (commandline -opc)
    set -l folder
    if set -l place (contains -i -- --state-dir $words)
        set folder --state-dir $words[(math $place + 1)]
    else
        set folder (string match -- '--state-dir=*' $words)
    end
    command $words[1] list $argv $folder 2>/dev/null
end

function __portmap_identifiers
    set -l table (__portmap_list)
    for identifier in (__portmap_list -q)
        # What stands first in its line says what it is.
        printf '%s\t%s\n' $identifier (string replace -rf -- "^(\S+) .* $identifier(?: .*)?\$" '$1' $table)
    end
end

# Ports of this host as unmap takes them, and what they lead to.
function __portmap_ports
    __portmap_list | string replace -rf '^([0-9-]+)(->\S*:[0-9-]+)(/[a-z]+)? .*' '$1$3\t$1$2$3'
    __portmap_list | string replace -rf '^([0-9-]+(?:/[a-z]+)?) +reserved .*' '$1\treserved'
end

function __portmap_names
    __portmap_identifiers | string match -rv '^[a-f][0-9a-f]{7}\t'
end

function __portmap_namespaces
    ip netns list 2>/dev/null | string replace -r ' .*' ''
end

function __portmap_entrances
    if string match -q '*/*' -- (commandline -ct)
        __fish_complete_path (string replace -r '^--into=' '' -- (commandline -ct))
    else
        __portmap_namespaces
    end
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
complete -c portmap -n __portmap_first -a apply -d 'make what a file declares so, and release what it declares no more'
complete -c portmap -n __portmap_first -a list -d 'show mappings, reservations and addresses'
complete -c portmap -n __portmap_first -a proxy -d 'forward in the foreground'
complete -c portmap -n __portmap_first -a check -d 'compare rules, sockets and processes with what they should be'
complete -c portmap -n __portmap_first -a repair -d 'put back what is missing, delete what belongs to no mapping'
complete -c portmap -n __portmap_first -l version -d 'tell the version'

complete -c portmap -n 'not __portmap_passes' -l json -d 'print one JSON document'
complete -c portmap -n 'not __portmap_passes' -s q -l quiet -d 'print less'
complete -c portmap -n 'not __portmap_passes' -s v -l verbose -d 'show each command that is run'
complete -c portmap -n 'not __portmap_passes' -l state-dir -xa '(__fish_complete_directories)' -d 'the folder with the state'
complete -c portmap -n 'not __portmap_passes' -s h -l help -d 'explain the command'
complete -c portmap -n '__portmap_first; or __portmap_using map unmap alloc apply repair' -s n -l dry-run -d 'print what would be run'
complete -c portmap -n '__portmap_using map alloc' -l host-ip -xa '(__portmap_addresses)' -d 'the address of this host'
complete -c portmap -n '__portmap_using map alloc' -l range -x -d 'the ports to choose from'
complete -c portmap -n '__portmap_using map alloc' -l bridge -xa '(__portmap_bridges)' -d 'the bridge network'
complete -c portmap -n '__portmap_using map proxy' -l into -xa '(__portmap_entrances)' -d 'connect from inside this namespace'
complete -c portmap -n '__portmap_using map proxy' -l proxy-protocol -xa 'v1 v2' -d 'begin each connection with a header'

complete -c portmap -n '__portmap_using map' -l to -xa '(__portmap_names; __portmap_namespaces)' -d 'the backend'
complete -c portmap -n '__portmap_using map' -l no-proxy -d 'rules only'
complete -c portmap -n '__portmap_using map' -l proxy-only -d 'no rules'
complete -c portmap -n '__portmap_using map' -l masquerade -d 'rewrite the source of this traffic'

complete -c portmap -n '__portmap_using unmap' -l if-exists -d 'a target that is nowhere is no failure'
complete -c portmap -n '__portmap_using unmap' -l all -d 'release everything'
complete -c portmap -n '__portmap_using unmap list check' -a '(__portmap_identifiers; __portmap_ports)'

complete -c portmap -n '__portmap_using check' -l probe -d 'ask every backend, too'

complete -c portmap -n '__portmap_using alloc' -s c -l count -x -d 'how many of each'
complete -c portmap -n '__portmap_using alloc' -l lend -d 'let a server bind the port itself'
complete -c portmap -n '__portmap_using alloc' -l ip -d 'an address of the bridge network'
complete -c portmap -n '__portmap_using alloc' -l netns -xa '(__portmap_namespaces)' -d 'plug this namespace in'
complete -c portmap -n '__portmap_using alloc' -l name -x -d 'a name for the address'
complete -c portmap -n '__portmap_using alloc' -l subnet -x -d 'the network of a new bridge'

complete -c portmap -n '__portmap_using apply' -F
complete -c portmap -n '__portmap_using apply' -l watch -d 'stay, and keep it so'
complete -c portmap -n '__portmap_using apply' -l origin -x -d 'what standard input is called'

complete -c portmap -n '__portmap_using list' -l stats -d 'what has gone through each mapping'

complete -c portmap -n '__portmap_using proxy' -l udp-timeout -x -d 'after which time an idle udp client is forgotten'

complete -c portmap -n __portmap_passes -a '(__portmap_pass)'
