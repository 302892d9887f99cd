# bash completion for lcpy
# Made by docs/generate.py from cli/table.py: change that, not this.

# What the value of a flag is: _lcpy_expected COMMAND FLAG sets `expected`.
_lcpy_expected() {
    case $1:$2 in
        :--log | :--criu | create:--console-socket | create:--pid-file | run:--console-socket | run:--pid-file) expected='file' ;;
        :--log-format) expected='text|json' ;;
        :--root | create:--bundle | create:-b | run:--bundle | run:-b | spec:--bundle | spec:-b) expected='directory' ;;
        :--rootless) expected='true|false|auto' ;;
        create:--preserve-fds | run:--preserve-fds) expected='N' ;;
        list:--format | list:-f) expected='table|json' ;;
        *) expected= ;;
    esac
}

_lcpy() {
    local current=${COMP_WORDS[COMP_CWORD]} command='' expected='' flag='' root='' words=''
    local -i place given=0
    COMPREPLY=()
    # `--flag=value` is three words for bash.
    [[ $current != = ]] || current=
    for ((place = 1; place < COMP_CWORD; place++)); do
        local word=${COMP_WORDS[place]}
        if [[ $word == = ]]; then
            continue
        elif [[ -n $expected ]]; then
            [[ $flag != --root ]] || root=$word
            expected=
        elif [[ $word == -* && $given -eq 0 ]]; then
            flag=$word
            _lcpy_expected "$command" "$word"
        elif [[ -z $command ]]; then
            command=$word
        else
            given+=1
        fi
    done
    case $expected in
        directory)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$current")
            return
            ;;
        file)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
        *'|'*) words=${expected//'|'/ } ;;
        ?*) return ;;
    esac
    if [[ -n $words ]]; then
        :
    elif [[ $current == -* && $given -eq 0 ]]; then
        case $command in
            '') words='--debug --log --log-format --root --criu --systemd-cgroup --rootless --help -h --version -v' ;;
            create) words='--bundle -b --console-socket --pid-file --no-pivot --no-new-keyring --preserve-fds --help -h' ;;
            delete) words='--force -f --help -h' ;;
            features) words='--help -h' ;;
            kill) words='--all -a --help -h' ;;
            list) words='--format -f --quiet -q --help -h' ;;
            run) words='--bundle -b --console-socket --pid-file --no-pivot --no-new-keyring --preserve-fds --detach -d --keep --no-subreaper --help -h' ;;
            spec) words='--bundle -b --rootless --help -h' ;;
            start) words='--help -h' ;;
            state) words='--help -h' ;;
        esac
    else
        case $command:$given in
            :0) words='create delete features kill list run spec start state help' ;;
            help:0) words='create delete features kill list run spec start state' ;;
            delete:0 | kill:0 | start:0 | state:0)
                words=$("${COMP_WORDS[0]}" ${root:+--root "$root"} list --quiet 2>/dev/null)
                ;;
            kill:1) words='HUP INT QUIT KILL USR1 USR2 TERM CONT STOP TSTP WINCH' ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _lcpy lcpy
