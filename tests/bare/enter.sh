#!/bin/sh
# unshare -m enter.sh ROOT DIRECTORY:... COMMAND...: make ROOT the root of this mount namespace,
# with the kernel's file systems of the machine and the directories read-only, and run the command.
set -eu

root=$1
directories=$2
shift 2

mount --make-rprivate /
mount --bind "$root" "$root"
for system in /proc /sys /dev; do
    mount --rbind "$system" "$root$system"
done
IFS=:
for directory in $directories; do
    mkdir -p "$root$directory"
    mount --bind "$directory" "$root$directory"
    mount -o remount,bind,ro "$root$directory"
done
unset IFS

# A chroot would not do: pivot_root inside it, as every container needs, is refused.
cd "$root"
pivot_root . .
umount -l .
cd /
exec "$@"
