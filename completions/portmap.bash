# bash completion for portmap -*- shell-script -*-
# shellcheck shell=bash

# Asks portmap itself, about the state folder that the command line names.
_portmap_list() {
    local word previous="" folder=()
    for word in "${COMP_WORDS[@]}"; do
        [[ $previous == --state-dir && $word != "=" ]] && folder=(--state-dir "$word")
        [[ $word == "=" ]] || previous=$word
    done
    "${COMP_WORDS[0]}" list "$@" "${folder[@]}" 2>/dev/null
}

_portmap_identifiers() { _portmap_list -q; }
# An address with a port is several words to bash: those without are offered.
_portmap_ports() {
    _portmap_list | sed -nE 's,^([0-9-]+)->[^ ]*:[0-9-]+(/[a-z]+)? .*,\1\2,p; s,^([0-9-]+(/[a-z]+)?) +reserved .*,\1,p'
}

_portmap_names() { _portmap_identifiers | grep -Evx '[a-f][0-9a-f]{7}'; }
_portmap_namespaces() { ip netns list 2>/dev/null | cut -d ' ' -f 1; }
_portmap_bridges() { ip -brief link show type bridge 2>/dev/null | cut -d ' ' -f 1; }
_portmap_addresses() {
    ip -oneline address show 2>/dev/null | sed -nE '/ fe80:/d; s/.* inet6? ([0-9a-f.:]+).*/\1/p'
}

# Sets place to that of the command: the first word that is neither an option nor its value.
_portmap_find_command() {
    for ((place = 1; place < COMP_CWORD; place++)); do
        case ${COMP_WORDS[place]} in
            --state-dir)
                # "=" is a word of its own here, and so is ":".
                [[ ${COMP_WORDS[place + 1]} != "=" ]] || ((place++))
                ((place++))
                ;;
            -*) ;;
            *) return ;;
        esac
    done
}

_portmap() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command="" place index
    COMPREPLY=()
    _portmap_find_command
    ((place >= COMP_CWORD)) || command=${COMP_WORDS[place]}

    # The words behind -- of map and alloc are another command.
    if [[ $command == map || $command == alloc ]]; then
        for ((index = place + 1; index < COMP_CWORD; index++)); do
            [[ ${COMP_WORDS[index]} == -- ]] || continue
            if declare -F _command_offset >/dev/null; then
                _command_offset $((index + 1))
            elif ((index + 1 == COMP_CWORD)); then
                mapfile -t COMPREPLY < <(compgen -c -- "$cur")
            else
                mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            fi
            return
        done
    fi

    if [[ $cur == "=" ]]; then
        cur=""
    elif [[ $prev == "=" ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    local words=""
    case $prev in
        --to) words="$(_portmap_names) $(_portmap_namespaces)" ;;
        --bridge) words=$(_portmap_bridges) ;;
        --netns) words=$(_portmap_namespaces) ;;
        --into)
            if [[ $cur == */* ]]; then
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                return
            fi
            words=$(_portmap_namespaces)
            ;;
        --host-ip)
            # An IPv6 address is several words to bash: only those without a colon are offered.
            words=$(_portmap_addresses | grep -v :)
            ;;
        --proxy-protocol) words="v1 v2" ;;
        --state-dir)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -d -- "$cur")
            return
            ;;
        --range | --origin | --name | --subnet | --count | -c | --udp-timeout) return ;;
        *)
            if [[ $cur == -* ]]; then
                words="--json --quiet --verbose --state-dir --help -q -v -h"
                case $command in
                    "") words+=" --version --dry-run -n" ;;
                    map)
                        words+=" --to --host-ip --bridge --no-proxy --proxy-only --masquerade --proxy-protocol"
                        words+=" --into --range --dry-run -n"
                        ;;
                    unmap) words+=" --if-exists --all --dry-run -n" ;;
                    alloc)
                        words+=" --count --lend --host-ip --range --ip --netns --name --bridge --subnet"
                        words+=" --dry-run -c -n"
                        ;;
                    proxy) words+=" --into --proxy-protocol --udp-timeout" ;;
                    apply) words+=" --watch --origin --dry-run -n" ;;
                    repair) words+=" --dry-run -n" ;;
                    list) words+=" --stats" ;;
                    check) words+=" --probe" ;;
                    *) return ;;
                esac
            elif [[ $command == "" ]]; then
                words="map unmap alloc apply list proxy check repair"
            elif [[ $command == apply ]]; then
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                return
            elif [[ $command == unmap || $command == list || $command == check ]]; then
                words="$(_portmap_identifiers) $(_portmap_ports)"
            fi
            ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _portmap portmap
