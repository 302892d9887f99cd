#!/bin/sh
# Run by the machine once it is up, from the share: installs the tree for root and for a user who
# is nobody special, runs the command, and leaves what it printed and its exit code on the share.
set -eu

host=/mnt/host
# What this script itself has to say is of interest where the command was not reached.
exec >"$host/log" 2>&1
: >"$host/up"

# install USER HOME: unpack the tree beside the environment that waits for it, and link the two as
# an editable installation is. (By pip itself, which other tests try, it takes half a minute here.)
install() {
    runuser -u "$1" -- sh -eu -c '
        tar -xf "$1/tree.tar" -C "$2/lcpy"
        cd "$2/lcpy"
        cp bin/lcpy .venv/bin/lcpy
        for packages in .venv/lib/python3*/site-packages; do
            pwd >"$packages/__editable__.libcontainer_py-0.pth"
        done
    ' sh "$host" "$2"
}
install root /root
install tester /home/tester
: >"$host/installed"

export LANG=C.UTF-8 TERM=dumb
code=0
if [ -e "$host/as-user" ]; then
    # In the user's own systemd, as from a login: that is what can hand cgroups to a user.
    systemd-run --quiet --wait --pipe --collect --user --machine=tester@.host \
        --working-directory=/home/tester/lcpy --setenv=LANG --setenv=TERM \
        --setenv=PATH=/home/tester/lcpy/.venv/bin:/usr/local/bin:/usr/bin:/bin \
        sh "$host/command" </dev/null >"$host/out" 2>"$host/err" || code=$?
else
    cd /root/lcpy
    export HOME=/root USER=root
    export PATH=/root/lcpy/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    sh "$host/command" </dev/null >"$host/out" 2>"$host/err" || code=$?
fi
echo "$code" >"$host/code.new"
mv "$host/code.new" "$host/code"
