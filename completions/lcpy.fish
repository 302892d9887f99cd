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
    not __fish_seen_subcommand_from checkpoint create delete events exec features kill list pause ps restore resume run spec start state update help
end

complete -c lcpy -f
complete -c lcpy -n '__lcpy_no_command' -l debug -d 'log more, and where an error came from'
complete -c lcpy -n '__lcpy_no_command' -l log -r -F -d 'file to add the log to (default: standard error)'
complete -c lcpy -n '__lcpy_no_command' -l log-format -x -a 'text json' -d 'format of the log (default: text)'
complete -c lcpy -n '__lcpy_no_command' -l root -x -a '(__fish_complete_directories)' -d 'where the containers'\'' state lies (default: /run/lcpy)'
complete -c lcpy -n '__lcpy_no_command' -l criu -r -F -d 'ignored: the program criu is looked for in PATH'
complete -c lcpy -n '__lcpy_no_command' -l systemd-cgroup -d 'let systemd make the cgroups; cgroupsPath is slice:prefix:name then'
complete -c lcpy -n '__lcpy_no_command' -l systemd-properties -d 'let annotations set any property of systemd'\''s units'
complete -c lcpy -n '__lcpy_no_command' -l rootless -x -a 'true false auto' -d 'whether to do without cgroups that can'\''t be made (default: auto)'
complete -c lcpy -n '__lcpy_no_command' -l help -s h -d 'show help'
complete -c lcpy -n '__lcpy_no_command' -l version -s v -d 'print the version, also of the specification'
complete -c lcpy -n '__lcpy_no_command' -a checkpoint -d 'write a running container down, by criu, and delete it'
complete -c lcpy -n '__lcpy_no_command' -a create -d 'create a container'
complete -c lcpy -n '__lcpy_no_command' -a delete -d 'delete a container, and all that it holds'
complete -c lcpy -n '__lcpy_no_command' -a events -d 'print what a container uses, and when it runs out of memory, as JSON'
complete -c lcpy -n '__lcpy_no_command' -a exec -d 'run a second process in a container'
complete -c lcpy -n '__lcpy_no_command' -a features -d 'print what lcpy supports, as JSON'
complete -c lcpy -n '__lcpy_no_command' -a kill -d 'send a signal (default: SIGTERM) to the container'\''s first process'
complete -c lcpy -n '__lcpy_no_command' -a list -d 'list the containers'
complete -c lcpy -n '__lcpy_no_command' -a pause -d 'stop all processes of a container'
complete -c lcpy -n '__lcpy_no_command' -a ps -d 'list the processes of a container'
complete -c lcpy -n '__lcpy_no_command' -a restore -d 'make a container again from a checkpoint, by criu'
complete -c lcpy -n '__lcpy_no_command' -a resume -d 'let a paused container go on'
complete -c lcpy -n '__lcpy_no_command' -a run -d 'create a container and start it'
complete -c lcpy -n '__lcpy_no_command' -a spec -d 'write a config.json to start from'
complete -c lcpy -n '__lcpy_no_command' -a start -d 'start a created container'
complete -c lcpy -n '__lcpy_no_command' -a state -d 'print the state of a container'
complete -c lcpy -n '__lcpy_no_command' -a update -d 'change the limits of a container'
complete -c lcpy -n '__lcpy_no_command' -a help -d 'show the help of a command'

complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l image-path -x -a '(__fish_complete_directories)' -d 'directory of the checkpoint (default: ./checkpoint)'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l work-path -x -a '(__fish_complete_directories)' -d 'directory for criu'\''s log (default: the same)'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l tcp-established -d 'with TCP connections that are open'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l ext-unix-sk -d 'with UNIX sockets that are connected to the outside'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l shell-job -d 'with a terminal, or session, of the outside'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l file-locks -d 'with locks on files'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l manage-cgroups-mode -x -d 'soft (default), full, strict or ignore: criu'\''s ways'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l empty-ns -x -d 'ignored: network namespaces are always restored empty'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l auto-dedup -d 'leave in the images of the memory what no later ones have'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l lazy-pages -d 'transfer the memory when it is used, by userfaultfd(2)'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l leave-running -d 'let it run on, and do not delete it'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l link-remap -d 'with files that have no name any more, by new names'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l page-server -x -d 'where criu'\''s page server is'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l parent-path -x -a '(__fish_complete_directories)' -d 'the pre-dump before, relative to --image-path'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l pre-dump -d 'write down the memory alone; the container runs on'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l status-fd -x -d 'descriptor for a zero byte, when pages can be had (default: -1)'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l tcp-skip-in-flight -d 'without TCP connections that are being made'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from checkpoint; and __lcpy_after checkpoint' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from create' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'directory that holds config.json (default: the current one)'
complete -c lcpy -n '__fish_seen_subcommand_from create' -l console-socket -r -F -d 'UNIX socket that receives the master end of the terminal'
complete -c lcpy -n '__fish_seen_subcommand_from create' -l pid-file -r -F -d 'file to write the process id to'
complete -c lcpy -n '__fish_seen_subcommand_from create' -l pidfd-socket -r -F -d 'UNIX socket that receives a pidfd of the first process'
complete -c lcpy -n '__fish_seen_subcommand_from create' -l no-pivot -d 'move the root instead of pivot_root, for a root on a ramdisk'
complete -c lcpy -n '__fish_seen_subcommand_from create' -l no-new-keyring -d 'leave the container in the caller'\''s session keyring'
complete -c lcpy -n '__fish_seen_subcommand_from create' -l preserve-fds -x -d 'pass N descriptors on, from 3 (and those of LISTEN_FDS) on (default: 0)'
complete -c lcpy -n '__fish_seen_subcommand_from create' -l help -s h -d 'show help'

complete -c lcpy -n '__fish_seen_subcommand_from delete' -l force -s f -d 'kill it first where it is running'
complete -c lcpy -n '__fish_seen_subcommand_from delete' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from delete; and __lcpy_after delete' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from events' -l interval -x -d 'time between two statistics: 500ms, 2s, 1m30s (default: 5s)'
complete -c lcpy -n '__fish_seen_subcommand_from events' -l stats -d 'print the statistics of now, and end'
complete -c lcpy -n '__fish_seen_subcommand_from events' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from events; and __lcpy_after events' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from exec' -l additional-gids -s g -x -d 'one more group for it; may be repeated'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l apparmor -x -d 'AppArmor profile for it'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l cap -s c -x -d 'one more capability for it; may be repeated'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l cgroup -x -d 'cgroup below the container'\''s; on v1 controllers:path'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l console-socket -r -F -d 'UNIX socket that receives the master end of its terminal'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l cwd -x -a '(__fish_complete_directories)' -d 'its working directory'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l detach -s d -d 'do not wait for its end'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l env -s e -x -d 'set a variable of its environment; may be repeated'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l ignore-paused -d 'in a paused container, too'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l no-new-privs -d 'it can gain no privileges by executing a program'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l pid-file -r -F -d 'file to write its process id to'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l pidfd-socket -r -F -d 'UNIX socket that receives a pidfd of it'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l preserve-fds -x -d 'pass N descriptors on, from 3 on (default: 0)'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l process -s p -r -F -d 'file that holds all of it, as process of config.json'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l process-label -x -d 'SELinux label for it'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l tty -s t -d 'give it a terminal'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l user -s u -x -d 'its user id, and group id'
complete -c lcpy -n '__fish_seen_subcommand_from exec' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from exec; and __lcpy_after exec' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from features' -l help -s h -d 'show help'

complete -c lcpy -n '__fish_seen_subcommand_from kill' -l all -s a -d 'send it to all of the container'\''s processes'
complete -c lcpy -n '__fish_seen_subcommand_from kill' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from kill; and __lcpy_after kill' -a '(__lcpy_containers)'
complete -c lcpy -n '__fish_seen_subcommand_from kill; and not __lcpy_after kill' -a 'HUP INT QUIT KILL USR1 USR2 TERM CONT STOP TSTP WINCH' -d signal

complete -c lcpy -n '__fish_seen_subcommand_from list' -l format -s f -x -a 'table json' -d 'how to print them (default: table)'
complete -c lcpy -n '__fish_seen_subcommand_from list' -l quiet -s q -d 'print their ids alone'
complete -c lcpy -n '__fish_seen_subcommand_from list' -l help -s h -d 'show help'

complete -c lcpy -n '__fish_seen_subcommand_from pause' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from pause; and __lcpy_after pause' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from ps' -l format -s f -x -a 'table json' -d 'how to print them (default: table)'
complete -c lcpy -n '__fish_seen_subcommand_from ps' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from ps; and __lcpy_after ps' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from restore' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'directory that holds config.json (default: the current one)'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l console-socket -r -F -d 'UNIX socket that receives the master end of the terminal'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l pid-file -r -F -d 'file to write the process id to'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l image-path -x -a '(__fish_complete_directories)' -d 'directory of the checkpoint (default: ./checkpoint)'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l work-path -x -a '(__fish_complete_directories)' -d 'directory for criu'\''s log (default: the same)'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l tcp-established -d 'with TCP connections that are open'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l ext-unix-sk -d 'with UNIX sockets that are connected to the outside'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l shell-job -d 'with a terminal, or session, of the outside'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l file-locks -d 'with locks on files'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l manage-cgroups-mode -x -d 'soft (default), full, strict or ignore: criu'\''s ways'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l empty-ns -x -d 'ignored: network namespaces are always restored empty'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l auto-dedup -d 'leave in the images of the memory what no later ones have'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l lazy-pages -d 'transfer the memory when it is used, by userfaultfd(2)'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l detach -s d -d 'do not wait for the container'\''s end'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l lsm-mount-context -x -d 'SELinux context for mounts that had one'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l lsm-profile -x -d 'label or profile, instead of the one it had'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l no-pivot -d 'ignored: criu makes the root'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l no-subreaper -d 'do not reap reparented processes'
complete -c lcpy -n '__fish_seen_subcommand_from restore' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from restore; and __lcpy_after restore' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from resume' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from resume; and __lcpy_after resume' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from run' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'directory that holds config.json (default: the current one)'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l console-socket -r -F -d 'UNIX socket that receives the master end of the terminal'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l pid-file -r -F -d 'file to write the process id to'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l pidfd-socket -r -F -d 'UNIX socket that receives a pidfd of the first process'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l no-pivot -d 'move the root instead of pivot_root, for a root on a ramdisk'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l no-new-keyring -d 'leave the container in the caller'\''s session keyring'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l preserve-fds -x -d 'pass N descriptors on, from 3 (and those of LISTEN_FDS) on (default: 0)'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l detach -s d -d 'do not wait for the container'\''s end'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l keep -d 'do not delete the container at its end'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l no-subreaper -d 'do not reap reparented processes'
complete -c lcpy -n '__fish_seen_subcommand_from run' -l help -s h -d 'show help'

complete -c lcpy -n '__fish_seen_subcommand_from spec' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'directory that holds config.json (default: the current one)'
complete -c lcpy -n '__fish_seen_subcommand_from spec' -l rootless -d 'one for a rootless container'
complete -c lcpy -n '__fish_seen_subcommand_from spec' -l help -s h -d 'show help'

complete -c lcpy -n '__fish_seen_subcommand_from start' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from start; and __lcpy_after start' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from state' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from state; and __lcpy_after state' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from update' -l resources -s r -r -F -d 'file with the limits (-: standard input); other flags don'\''t count'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l blkio-weight -x -d 'share of the block devices'\'' time, 10 to 1000'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l cpu-period -x -d 'period of the CPU quota, in microseconds'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l cpu-quota -x -d 'CPU time in a period, in microseconds; -1 is no limit'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l cpu-burst -x -d 'CPU time that may be saved up, in microseconds'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l cpu-share -x -d 'share of the CPUs, beside those of others'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l cpu-rt-period -x -d 'period of the real-time budget, in microseconds'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l cpu-rt-runtime -x -d 'real-time budget in a period, in microseconds'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l cpuset-cpus -x -d 'CPUs that may be used: 0-3,7'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l cpuset-mems -x -d 'memory nodes that may be used'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l kernel-memory -x -d 'ignored: it has no meaning any more'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l kernel-memory-tcp -x -d 'ignored: it has no meaning any more'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l memory -x -d 'limit on memory: 512M; -1 is no limit'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l cpu-idle -x -a '0 1' -d '1: run only when nobody else wants the CPU; 0: like others'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l memory-reservation -x -d 'memory to keep for it, where memory is short'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l memory-swap -x -d 'limit on memory and swap together; -1 is no limit'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l pids-limit -x -d 'limit on tasks; -1 is no limit'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l l3-cache-schema -x -d 'Intel RDT: which parts of the L3 cache'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l mem-bw-schema -x -d 'Intel RDT: how much of the memory'\''s bandwidth'
complete -c lcpy -n '__fish_seen_subcommand_from update' -l help -s h -d 'show help'
complete -c lcpy -n '__fish_seen_subcommand_from update; and __lcpy_after update' -a '(__lcpy_containers)'

complete -c lcpy -n '__fish_seen_subcommand_from help' -a 'checkpoint create delete events exec features kill list pause ps restore resume run spec start state update'
