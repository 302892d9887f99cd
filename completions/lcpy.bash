# bash completion for lcpy
# Made by docs/generate.py from cli/table.py: change that, not this.

# What the value of a flag is: _lcpy_expected COMMAND FLAG sets `expected`.
_lcpy_expected() {
    case $1:$2 in
        :--log | :--criu | create:--console-socket | create:--pid-file | create:--pidfd-socket | exec:--console-socket | exec:--pid-file | exec:--pidfd-socket | exec:--process | exec:-p | restore:--console-socket | restore:--pid-file | run:--console-socket | run:--pid-file | run:--pidfd-socket | update:--resources | update:-r) expected='file' ;;
        :--log-format) expected='text|json' ;;
        :--root | checkpoint:--image-path | checkpoint:--work-path | checkpoint:--parent-path | create:--bundle | create:-b | exec:--cwd | restore:--bundle | restore:-b | restore:--image-path | restore:--work-path | run:--bundle | run:-b | spec:--bundle | spec:-b) expected='directory' ;;
        :--rootless) expected='true|false|auto' ;;
        checkpoint:--manage-cgroups-mode | restore:--manage-cgroups-mode) expected='mode' ;;
        checkpoint:--empty-ns | restore:--empty-ns) expected='network' ;;
        checkpoint:--page-server) expected='address:port' ;;
        checkpoint:--status-fd | create:--preserve-fds | exec:--preserve-fds | run:--preserve-fds | update:--blkio-weight | update:--cpu-period | update:--cpu-quota | update:--cpu-burst | update:--cpu-share | update:--cpu-rt-period | update:--cpu-rt-runtime | update:--pids-limit) expected='N' ;;
        events:--interval) expected='time' ;;
        exec:--additional-gids | exec:-g) expected='gid' ;;
        exec:--apparmor) expected='profile' ;;
        exec:--cap | exec:-c) expected='name' ;;
        exec:--cgroup) expected='path' ;;
        exec:--env | exec:-e) expected='name=value' ;;
        exec:--process-label) expected='label' ;;
        exec:--user | exec:-u) expected='uid[:gid]' ;;
        list:--format | list:-f | ps:--format | ps:-f) expected='table|json' ;;
        restore:--lsm-mount-context) expected='context' ;;
        restore:--lsm-profile) expected='type:name' ;;
        update:--cpuset-cpus | update:--cpuset-mems) expected='list' ;;
        update:--kernel-memory | update:--kernel-memory-tcp | update:--memory | update:--memory-reservation | update:--memory-swap) expected='bytes' ;;
        update:--cpu-idle) expected='0|1' ;;
        update:--l3-cache-schema | update:--mem-bw-schema) expected='schema' ;;
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
            '') words='--debug --log --log-format --root --criu --systemd-cgroup --systemd-properties --rootless --help -h --version -v' ;;
            checkpoint) words='--image-path --work-path --tcp-established --ext-unix-sk --shell-job --file-locks --manage-cgroups-mode --empty-ns --auto-dedup --lazy-pages --leave-running --link-remap --page-server --parent-path --pre-dump --status-fd --tcp-skip-in-flight --help -h' ;;
            create) words='--bundle -b --console-socket --pid-file --pidfd-socket --no-pivot --no-new-keyring --preserve-fds --help -h' ;;
            delete) words='--force -f --help -h' ;;
            events) words='--interval --stats --help -h' ;;
            exec) words='--additional-gids -g --apparmor --cap -c --cgroup --console-socket --cwd --detach -d --env -e --ignore-paused --no-new-privs --pid-file --pidfd-socket --preserve-fds --process -p --process-label --tty -t --user -u --help -h' ;;
            features) words='--help -h' ;;
            kill) words='--all -a --help -h' ;;
            list) words='--format -f --quiet -q --help -h' ;;
            pause) words='--help -h' ;;
            ps) words='--format -f --help -h' ;;
            restore) words='--bundle -b --console-socket --pid-file --image-path --work-path --tcp-established --ext-unix-sk --shell-job --file-locks --manage-cgroups-mode --empty-ns --auto-dedup --lazy-pages --detach -d --lsm-mount-context --lsm-profile --no-pivot --no-subreaper --help -h' ;;
            resume) words='--help -h' ;;
            run) words='--bundle -b --console-socket --pid-file --pidfd-socket --no-pivot --no-new-keyring --preserve-fds --detach -d --keep --no-subreaper --help -h' ;;
            spec) words='--bundle -b --rootless --help -h' ;;
            start) words='--help -h' ;;
            state) words='--help -h' ;;
            update) words='--resources -r --blkio-weight --cpu-period --cpu-quota --cpu-burst --cpu-share --cpu-rt-period --cpu-rt-runtime --cpuset-cpus --cpuset-mems --kernel-memory --kernel-memory-tcp --memory --cpu-idle --memory-reservation --memory-swap --pids-limit --l3-cache-schema --mem-bw-schema --help -h' ;;
        esac
    else
        case $command:$given in
            :0) words='checkpoint create delete events exec features kill list pause ps restore resume run spec start state update help' ;;
            help:0) words='checkpoint create delete events exec features kill list pause ps restore resume run spec start state update' ;;
            checkpoint:0 | delete:0 | events:0 | exec:0 | kill:0 | pause:0 | ps:0 | restore:0 | resume:0 | start:0 | state:0 | update:0)
                words=$("${COMP_WORDS[0]}" ${root:+--root "$root"} list --quiet 2>/dev/null)
                ;;
            kill:1) words='HUP INT QUIT KILL USR1 USR2 TERM CONT STOP TSTP WINCH' ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _lcpy lcpy
