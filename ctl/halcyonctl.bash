# shellcheck shell=bash
# Completion of halcyonctl(1) for bash. Machines are the sockets in the runtime directory; commands
# and arguments are the machine's own answer.

# Those machines whose names begin with $1, quoted: a name is a file's.
_halcyonctl_machines() {
    local socket
    for socket in "${HALCYON_RUNTIME_DIR:-/run}"/halcyon/"$1"*.sock; do
        [ -S "$socket" ] || continue
        socket=${socket##*/}
        printf '%q\n' "${socket%.sock}"
    done
}

_halcyonctl() {
    # Words as halcyonctl sees them: bash also ends them at '=' and ':'.
    local line=${COMP_LINE:0:COMP_POINT} words=() current='' cut prefix='' where=() rest=() i word
    local options='--socket --json --wait --timeout --grace --list-commands --help --version'
    read -ra words <<<"$line"
    if [[ $line != *[[:space:]] ]]; then
        current=${words[-1]}
        unset 'words[-1]'
    fi
    COMPREPLY=()
    for ((i = 1; i < ${#words[@]}; i++)); do
        word=${words[i]}
        case $word in
            -s | --socket)
                where=(-s "${words[++i]}")
                ;;
            --socket=*)
                where=(-s "${word#*=}")
                ;;
            -w | --wait | -t | --timeout | -g | --grace)
                ((i++))
                ;;
            -*) ;;
            *)
                if [ ${#where[@]} -eq 0 ]; then
                    where=("$word")
                else
                    rest+=("$word")
                fi
                ;;
        esac
    done
    case ${words[-1]} in
        -s | --socket)
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
        -w | --wait | -t | --timeout | -g | --grace)
            return
            ;;
    esac
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    elif [ ${#where[@]} -eq 0 ]; then
        mapfile -t COMPREPLY < <(_halcyonctl_machines "$current")
    else
        mapfile -t COMPREPLY < <("${words[0]}" --timeout 2 --complete "${where[@]}" \
            -- "${rest[@]}" "$current" 2>/dev/null)
    fi
    if [[ ${COMPREPLY[0]-} == *[=.] ]]; then
        compopt -o nospace 2>/dev/null
    fi
    # What bash takes for earlier words must not be in its answer.
    cut=${current##*[=:]}
    if [[ $COMP_WORDBREAKS == *=* && $cut != "$current" ]]; then
        prefix=${current%"$cut"}
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    fi
}

complete -F _halcyonctl halcyonctl
