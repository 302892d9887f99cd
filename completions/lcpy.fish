# fish completion for lcpy
# Made by docs/generate.py from cli/table.py: change that, not this.

function __lcpy_containers
    set -l words (commandline -opc)
    set -l root
    if set -l place (contains -i -- --root $words)
        set root --root $words[(math $place + 1)]
    end
    command lcpy $root list --quiet 2>/dev/null
end

function __lcpy_after --argument-names command
    set -l words (commandline -opc)
    string match -qr -- "^(-.*|$command)\$" $words[-1]
end

function __lcpy_no_command
    not __fish_seen_subcommand_from create delete features kill list run spec start state help
end

complete -c lcpy -f
complete -c lcpy -n '__lcpy_no_command' -l debug -d 'log more, and where an error came from'
complete -c lcpy -n '__lcpy_no_command' -l log -r -F -d 'file to add the log to (default: standard error)'
complete -c lcpy -n '__lcpy_no_command' -l log-format -x -a 'text json' -d 'format of the log (default: text)'
complete -c lcpy -n '__lcpy_no_command' -l root -x -a '(__fish_complete_directories)' -d 'where the containers'\'' state lies (default: /run/lcpy)'
complete -c lcpy -n '__lcpy_no_command' -l criu -r -F -d 'the criu program: for checkpoints, which are not built yet'
complete -c lcpy -n '__lcpy_no_command' -l systemd-cgroup -d 'let systemd manage the cgroups (not built yet)'
complete -c lcpy -n '__lcpy_no_command' -l rootless -x -a 'true false auto' -d 'ignore cgroup errors; true is not built yet (default: auto)'
complete -c lcpy -n '__lcpy_no_command' -l help -s h -d 'show help'
complete -c lcpy -n '__lcpy_no_command' -l version -s v -d 'print the version, also of the specification'
complete -c lcpy -n '__lcpy_no_command' -a create -d 'create a container'
complete -c lcpy -n '__lcpy_no_command' -a delete -d 'delete a container, and all that it holds'
complete -c lcpy -n '__lcpy_no_command' -a features -d 'print what lcpy supports, as JSON'
complete -c lcpy -n '__lcpy_no_command' -a kill -d 'send a signal (default: SIGTERM) to the container'\''s first process'
complete -c lcpy -n '__lcpy_no_command' -a list -d 'list the containers'
complete -c lcpy -n '__lcpy_no_command' -a run -d 'create a container and start it'
complete -c lcpy -n '__lcpy_no_command' -a spec -d 'write a config.json to start from'
complete -c lcpy -n '__lcpy_no_command' -a start -d 'start a created container'
complete -c lcpy -n '__lcpy_no_command' -a state -d 'print the state of a container'
complete -c lcpy -n '__lcpy_no_command' -a help -d 'show the help of a command'

complete -c lcpy -n '__fish_seen_subcommand_from create' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'directory that holds config.json (default: the current one)'
complete -c lcpy -n '__fish_seen_subcommand_from create' -l console-socket -r -F -d 'UNIX socket that receives the master end of the terminal'
complete -c lcpy -n '__fish_seen_subcommand_from create' -l pid-file -r -F -d 'file to write the process id to'
complete -c lcpy -n '__fish_seen_subcommand_from create' -l no-pivot -d 'move the root instead of pivot_root, for a root on a ramdisk'
complete -c lcpy -n '__fish_seen_subcommand_from create' -l no-new-keyring -d 'leave the container in the caller'\''s session keyring'
complete -c lcpy -n '__fish_seen_subcommand_from create' -l preserve-fds -x -d 'pass N descriptors on, from 3 (and those of LISTEN_FDS) on (default: 0)'
complete -c lcpy -n '__fish_seen_subcommand_from create' -l help -s h -d 'show help'

complete -c lcpy -n '__fish_seen_subcommand_from delete' -l force -s f -d 'kill it first where it is running'
complete -c lcpy -n '__fish_seen_subcommand_from delete' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from delete; and __lcpy_after delete' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from features' -l help -s h -d 'show help'

complete -c lcpy -n '__fish_seen_subcommand_from kill' -l all -s a -d 'send it to all of the container'\''s processes'
complete -c lcpy -n '__fish_seen_subcommand_from kill' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from kill; and __lcpy_after kill' -a '(__lcpy_containers)'
complete -c lcpy -n '__fish_seen_subcommand_from kill; and not __lcpy_after kill' -a 'HUP INT QUIT KILL USR1 USR2 TERM CONT STOP TSTP WINCH' -d signal

complete -c lcpy -n '__fish_seen_subcommand_from list' -l format -s f -x -a 'table json' -d 'how to print them (default: table)'
complete -c lcpy -n '__fish_seen_subcommand_from list' -l quiet -s q -d 'print their ids alone'
complete -c lcpy -n '__fish_seen_subcommand_from list' -l help -s h -d 'show help'

complete -c lcpy -n '__fish_seen_subcommand_from run' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'directory that holds config.json (default: the current one)'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l console-socket -r -F -d 'UNIX socket that receives the master end of the terminal'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l pid-file -r -F -d 'file to write the process id to'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l no-pivot -d 'move the root instead of pivot_root, for a root on a ramdisk'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l no-new-keyring -d 'leave the container in the caller'\''s session keyring'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l preserve-fds -x -d 'pass N descriptors on, from 3 (and those of LISTEN_FDS) on (default: 0)'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l detach -s d -d 'do not wait for the container'\''s end'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l keep -d 'do not delete the container at its end'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l no-subreaper -d 'do not reap reparented processes'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l help -s h -d 'show help'

complete -c lcpy -n '__fish_seen_subcommand_from spec' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'directory that holds config.json (default: the current one)'
complete -c lcpy -n '__fish_seen_subcommand_from spec' -l rootless -d 'one for a rootless container (not built yet)'
complete -c lcpy -n '__fish_seen_subcommand_from spec' -l help -s h -d 'show help'

complete -c lcpy -n '__fish_seen_subcommand_from start' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from start; and __lcpy_after start' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from state' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from state; and __lcpy_after state' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from help' -a 'create delete features kill list run spec start state'
