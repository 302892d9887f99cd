"""The finish list: the last steps before the container's program, as a list of system calls.

Python writes the list, execs it while still privileged, and is gone: what drops the privileges,
says READY, waits for `start` and execs the program is `loop`, 144 bytes of machine code in a
sealed file. So nothing that the image's processes can see, trace or open is an interpreter
(CVE-2019-5736 and its kin), and a waiting container weighs a few pages.

The steps themselves are written once, as functions over an object that has the calls by name
(`security.capabilities`, `user.setup`). Two objects do:

`FinishList`
    records them, to be run by the loop.
`AtOnce`
    makes them now, in this process: for a primitive called by itself, and for tests.
"""

import _struct as struct
import fcntl
import posix

from libcontainer_py import numberlist
from libcontainer_py.errors import quoted, words
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    CLONE_PARENT,
    F_ADD_SEALS,
    F_GETFD,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    F_SETFD,
    FD_CLOEXEC,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    KEYCTL_JOIN_SESSION_KEYRING,
    KEYCTL_SETPERM,
    MFD_ALLOW_SEALING,
    MFD_CLOEXEC,
    MFD_EXEC,
    MOUNT_ATTR_RDONLY,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
    SA_RESTORER,
    SECCOMP_SET_MODE_FILTER,
    SIG_SETMASK,
    TIOCSCTTY,
)
from libcontainer_py.linux.numbers import MACHINE, NR, numbers_of
from libcontainer_py.namespaces import loop
from libcontainer_py.syncpipe.records import (
    ENTERED_SIZE,
    EXEC,
    HOOK_ENDED,
    JOINED,
    LISTENER_CLOSED,
    LISTENER_SIZE,
    READY,
    RECORD_SIZE,
    START,
    START_HOOK,
    STARTED,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from libcontainer_py.syncpipe.records import Step

    _Then = tuple[str | None, str | None, str | None]
    _Entry = tuple[int, list[int], int, _Then, bool]

    class Calls(Protocol):
        """The calls that a step of the finish list may make, by name."""

        def at(self, step: str, field: str | None = None, what: str = "") -> None: ...
        def prctl(
            self, option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0
        ) -> object: ...
        def setgroups(self, gids: list[int]) -> None: ...
        def setresgid(self, rgid: int, egid: int, sgid: int) -> None: ...
        def setresuid(self, ruid: int, euid: int, suid: int) -> None: ...
        def check_ids(self, uid: int, gid: int) -> None: ...
        def capset(self, effective: int, permitted: int, inheritable: int) -> None: ...
        def capbset_drop(self, capability: int) -> None: ...
        def cap_ambient_clear_all(self) -> None: ...
        def cap_ambient_raise(self, capability: int) -> None: ...
        def seccomp_set_mode_filter(self, flags: int, instructions: bytes) -> None: ...
        def chdir(self, path: str) -> None: ...
        def write_beneath(self, directory: int, path: str, data: bytes) -> None: ...


# The first words of the scratch memory are the loop's record of a failure; then ours.
_FAULT, _RESULT, _IGNORED, _EXEC_RESULT, _BYTE, _FIRST, _SECOND, _THIRD, _PID, _STATUS = range(10)
_CWD, _LISTENER = 10, 11
FIRST = 12  # from here on words are free, for whoever records calls of his own

_SIGHUP, _SIGINT, _SIGTERM, _SIGCHLD = 1, 2, 15, 17
_EPERM, _EACCES, _ENOSYS = 1, 13, 38
_SOCK_FILTER_SIZE = 8
_EXIT_AGAIN = 126  # a second run of the list, see `guard`

# How `write_beneath` opens a file: a struct open_how, for openat2(2).
_TO_WRITE = posix.O_WRONLY | posix.O_CLOEXEC
_DIRECTORY = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
_STAY = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV


class Saved:
    """An argument: what an earlier entry has put into a word of the scratch memory."""

    __slots__ = ("address",)

    def __init__(self, slot: int) -> None:
        self.address = loop.SCRATCH + 8 * slot


class Address(int):
    """An argument: the address of a word of the scratch memory, for the kernel to write to."""

    __slots__ = ()

    def __new__(cls, slot: int) -> "Address":
        return super().__new__(cls, loop.SCRATCH + 8 * slot)


class Array:
    """An argument: the address of words, with a NULL behind them.

    A word is a number, or the address of bytes or of another array.

    So an array of strings as execve takes it, or a structure of two words.
    """

    __slots__ = ("words",)

    def __init__(self, words: "Sequence[int | bytes | Array]") -> None:
        self.words = words


class _Words(int):
    """A word that holds the address of another word, by its index."""


class FinishList:
    """Records calls, and compiles them into the file that runs them.

    `pipe` is the sync pipe; `go` and `status` are the two FIFOs of `start`. All three must be
    open, and not close-on-exec, when the list is exec'd. `machine` is the architecture that will
    run it, as uname(2) says it; Error for one that has no loop.
    """

    __slots__ = (
        "_entries",
        "_failed",
        "_labels",
        "_noted",
        "_numbers",
        "_step",
        "_words",
        "go",
        "machine",
        "pipe",
        "status",
        "steps",
    )

    def __init__(self, pipe: int, go: int, status: int, machine: str = MACHINE) -> None:
        self.pipe, self.go, self.status = pipe, go, status
        self.machine = machine
        self._numbers = NR if machine == MACHINE else numbers_of(machine)
        # Which step each position belongs to, for whoever reads a record of a failure.
        self.steps: list[Step] = []
        self._step: tuple[str, str | None, str] = ("Finish", None, "")
        self._noted: tuple[str, str | None, str] | None = None
        self._entries: list[_Entry] = []
        self._labels: dict[str, int] = {}
        self._failed = "fail"
        self._words: list[int | bytes] = [0]
        self._guard()

    # ── how a call is recorded ──────────────────────────────────────────────────────────────────

    def at(self, step: str, field: "str | None" = None, what: str = "") -> None:
        """Name the step, the field of config.json and the words for what is recorded next."""
        self._step = (step, field, what)

    def call(
        self,
        name: str,
        *args: "int | bytes | Saved | Array",
        save: int = _IGNORED,
        error: "str | None" = "fail",
        zero: "str | None" = None,
        positive: "str | None" = None,
        retry: bool = False,
    ) -> None:
        """Record one system call. `error`, `zero`, `positive`: the label to go on at (None: next).

        "fail" tells the parent; after READY, when he is gone, `start`.

        Bytes are passed as their address, a `Saved` as what was saved there.
        """
        if error == "fail":
            error = self._failed
        self._record(self._numbers[name], args, save, (error, zero, positive), retry)

    def compare(
        self,
        left: "int | Saved",
        right: "int | Saved",
        equal: "str | None" = None,
        differ: "str | None" = None,
    ) -> None:
        """Record a comparison, and the label to go on at in each case (None: next)."""
        self._record(-1, (left, right), _IGNORED, (differ, equal, differ), False)

    def label(self, name: str) -> None:
        """Name the entry that is recorded next."""
        self._labels[name] = len(self._entries)

    def _record(
        self,
        number: int,
        args: "tuple[int | bytes | Saved | Array, ...]",
        save: int,
        then: "_Then",
        retry: bool,
    ) -> None:
        places = [self._place(argument) for argument in args]
        places += [0] * (6 - len(places))
        self._entries.append((number, places, save, then, retry))
        if self._step is not self._noted:
            self.steps.append((len(self._entries) - 1, *self._step))
            self._noted = self._step

    def _place(self, argument: "int | bytes | Saved | Array") -> int:
        """Where the argument will be found: an address in scratch memory, or a word's index."""
        if isinstance(argument, Saved):
            return argument.address
        words = self._words
        if isinstance(argument, Array):
            argument = self._array(argument)
        words.append(argument)
        return len(words) - 1

    def _array(self, array: Array) -> _Words:
        words = self._words
        inner = [self._array(word) if isinstance(word, Array) else word for word in array.words]
        first = len(words)
        words.extend(inner)
        words.append(0)
        return _Words(first)

    # ── the calls, by name: what `linux.syscalls` has too ───────────────────────────────────────

    def prctl(
        self, option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0
    ) -> None:
        """Record prctl(2)."""
        self.call("prctl", option, arg2, arg3, arg4, arg5)

    def setgroups(self, gids: "list[int]") -> None:
        """Record setgroups(2)."""
        self.call("setgroups", len(gids), struct.pack(f"{len(gids)}I", *gids))

    def setresgid(self, rgid: int, egid: int, sgid: int) -> None:
        """Record setresgid(2)."""
        self.call("setresgid", rgid, egid, sgid)

    def setresuid(self, ruid: int, euid: int, suid: int) -> None:
        """Record setresuid(2)."""
        self.call("setresuid", ruid, euid, suid)

    def check_ids(self, uid: int, gid: int) -> None:
        """Record that all six ids are read back, and that each is the one that was set."""
        position = len(self._entries)  # makes the labels unique
        differ, agree = f"ids differ: {position}", f"ids agree: {position}"
        for name, wanted in (("getresgid", gid), ("getresuid", uid)):
            self.call(name, Address(_FIRST), Address(_SECOND), Address(_THIRD))
            for slot in (_FIRST, _SECOND, _THIRD):
                self.compare(Saved(slot), wanted, differ=differ)
        self.compare(0, 0, equal=agree)
        self.label(differ)  # a comparison has no errno: the next one's result is -EPERM
        self._record(-1, (0, _EPERM), _IGNORED, ("fail", None, None), False)
        self.label(agree)

    def capset(self, effective: int, permitted: int, inheritable: int) -> None:
        """Record capset(2)."""
        self.call("capset", *syscalls.capset_structs(effective, permitted, inheritable))

    def capbset_drop(self, capability: int) -> None:
        """Record prctl(2), PR_CAPBSET_DROP."""
        self.prctl(PR_CAPBSET_DROP, capability)

    def cap_ambient_clear_all(self) -> None:
        """Record prctl(2), PR_CAP_AMBIENT_CLEAR_ALL."""
        self.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)

    def cap_ambient_raise(self, capability: int) -> None:
        """Record prctl(2), PR_CAP_AMBIENT_RAISE."""
        self.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)

    def seccomp_set_mode_filter(self, flags: int, instructions: bytes) -> None:
        """Record seccomp(2), SECCOMP_SET_MODE_FILTER."""
        # struct sock_fprog: the number of instructions, and where they are.
        program = Array((len(instructions) // _SOCK_FILTER_SIZE, instructions))
        self.call("seccomp", SECCOMP_SET_MODE_FILTER, flags, program, save=_LISTENER)

    def chdir(self, path: str) -> None:
        """Record chdir(2)."""
        self.call("chdir", _bytes(path))

    def write_beneath(self, directory: int, path: str, data: bytes) -> None:
        """Record that a file is opened, written to, and closed.

        The way to it stays below the directory, and on its mount.
        """
        how = struct.pack("QQQ", _TO_WRITE, 0, _STAY)
        self.call("openat2", directory, _bytes(path), how, len(how), save=_FIRST)
        self.call("write", Saved(_FIRST), data, len(data))
        self.call("close", Saved(_FIRST))

    def prlimit(self, resource: int, soft: int, hard: int) -> None:
        """Record prlimit(2) of the process itself."""
        self.call("prlimit64", 0, resource, struct.pack("QQ", soft, hard), 0)

    # ── what only a list has: its beginning and its end ─────────────────────────────────────────

    def _guard(self) -> None:
        # An entrypoint `#!/proc/self/exe` makes the kernel run this file again, with arguments of
        # the image's choice. They are never read, and the sync pipe, closed by then, tells a
        # second run from the first: it has nothing to do.
        self.call("fcntl", self.pipe, F_GETFD, error="again")

    def end_by_signals(self, signals: "tuple[int, ...]" = (_SIGHUP, _SIGINT, _SIGTERM)) -> None:
        """Let these signals end a created container, and unblock all signals.

        As pid 1 it would ignore whatever has no handler. The exec of the program resets them.
        """
        # struct sigaction: handler, flags, restorer, mask. On x86-64 the kernel refuses to return
        # to no restorer, with SIGSEGV; aarch64 has the field too. Ours never returns.
        action = struct.pack("QQQQ", loop.HANDLER, SA_RESTORER, loop.HANDLER, 0)
        for number in signals:
            self.call("rt_sigaction", number, action, 0, 8)
        self.call("rt_sigprocmask", SIG_SETMASK, bytes(8), 0, 8)

    def affinity(self, cpus: "list[int]") -> None:
        """Record sched_setaffinity(2)."""
        self.at("setAffinity", "process.execCPUAffinity.initial")
        mask = numberlist.mask(cpus)
        self.call("sched_setaffinity", 0, len(mask), mask)

    def become_root(self, uid: int, gid: int) -> None:
        """Record that it is root of a user namespace, or the first id where 0 is not mapped."""
        self.at("setupUserNamespace")
        self.setresgid(gid, gid, gid)
        self.setresuid(uid, uid, uid)

    def keyring(self, name: str, permissions: int) -> None:
        """Record keyctl(2): a session keyring of that name. A kernel without keyrings has none."""
        self.call(
            "keyctl",
            KEYCTL_JOIN_SESSION_KEYRING,
            _bytes(name),
            save=_FIRST,
            error="no keyring",
            positive="keyring",
        )
        self.label("no keyring")
        self.compare(Saved(_FIRST), -_ENOSYS, equal="keyring done")
        self._fail_as(_FIRST)
        self.label("keyring")
        self.call("keyctl", KEYCTL_SETPERM, Saved(_FIRST), permissions)
        self.label("keyring done")

    def join_namespaces(self, pidfd: int, flags: int) -> None:
        """Record setns(2) into namespaces of a process, all at once, and let go of it.

        The kernel judges by the rights that we have before. Of a pid namespace we are not; our
        children will be.
        """
        self.at("joinNamespaces")
        if flags:
            self.call("setns", pidfd, flags)
        self.call("close", pidfd)

    def chroot(self, root: int) -> None:
        """Record chroot(2) into a directory that is open, and let go of it."""
        self.at("chroot", "root.path")
        self.call("fchdir", root)
        self.call("chroot", b".")
        self.call("close", root)

    def chdir_in_root(self, cwd: str) -> None:
        """Record that the working directory is entered, proved to be inside the root, in which
        we are: CVE-2024-21626, see `finalize_namespace`. Where root may not, `chdir_later` does.
        """
        self.at("FinalizeNamespace", "process.cwd", f"chdir to cwd ({quoted(cwd)})")
        how = struct.pack("QQQ", _DIRECTORY, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        path, size = _bytes(cwd), len(how)
        self.call("openat2", AT_FDCWD, path, how, size, save=_CWD, error="cwd refused")
        self.call("fchdir", Saved(_CWD))
        self.call("close", Saved(_CWD), positive="cwd", zero="cwd")
        self.label("cwd refused")
        self.compare(Saved(_CWD), -_EACCES, equal="cwd")
        self._fail_as(_CWD)
        self.label("cwd")

    def chdir_later(self, cwd: str) -> None:
        """Record that the user goes to the working directory, where `chdir_in_root` could not."""
        self.at("FinalizeNamespace", "process.cwd", f"chdir to cwd ({quoted(cwd)})")
        self.compare(Saved(_CWD), -_EACCES, differ="cwd is there")
        self.chdir(cwd)
        self.label("cwd is there")

    def _fail_as(self, slot: int) -> None:
        """Record that it all ends here, with the error that is in a word."""
        self._record(-1, (Saved(slot), 0), _IGNORED, ("fail", None, None), False)

    def joined(self) -> None:
        """Tell the parent, and wait until it has set the limits."""
        self.at("ReadFromParent")
        self.call("write", self.pipe, JOINED, len(JOINED), zero="fail")
        self.call("read", self.pipe, Address(_BYTE), 8, retry=True, error="die", zero="die")

    def enter_cgroups(self, doors: "list[tuple[int, str]]") -> None:
        """Move itself, through descriptors of v1's ``tasks`` that are closed behind it.

        The list weighs nothing, so what is in the container pays for no more than its own.
        """
        for fd, path in doors:
            self.at("SetupCgroups", "linux.cgroupsPath", f"join {path}")
            self.call("write", fd, b"0", 1)
            self.call("close", fd)

    def enter_pid_namespace(self, terminal: bool) -> None:
        """Go on in the pid namespace that children are to be in (setns(2)), as a clone.

        Everything has been dropped by now. The parent is told the clone's pid, and lets it go on.
        Its session is a new one, where `terminal`, with standard input as its terminal.
        """
        self.at("joinNamespaces", "linux.namespaces", "enter the pid namespace")
        # Nobody in there may attach to it, or take the pipe from it (CVE-2016-9962). The program's
        # exec ends that.
        self.prctl(PR_SET_DUMPABLE, 0)
        self.call("clone", CLONE_PARENT, save=_PID, zero="inside")
        self.call("write", self.pipe, Address(_PID), ENTERED_SIZE, error="die")
        self.call("exit_group", 0)
        self.label("inside")
        self.call("read", self.pipe, Address(_BYTE), 8, retry=True, error="die", zero="die")
        self.at("Setsid")
        self.call("setsid")
        if terminal:
            self.at("Setctty", "process.terminal")
            self.call("ioctl", 0, TIOCSCTTY, 0)

    def hand_over_listener(self) -> None:
        """Let the parent take the listener that the filter came with, and let go of it.

        All of this is under the filter: an agent may have to allow each of these calls but write,
        which no filter asks an agent about. While we hold the listener ourselves, the kernel does
        not see when he has died: so the parent waits until we don't, and not for ever.
        """
        self.call("write", self.pipe, Address(_LISTENER), LISTENER_SIZE, zero="fail")
        self.call("read", self.pipe, Address(_BYTE), 8, retry=True, zero="die")
        self.call("close", Saved(_LISTENER))
        self.call("write", self.pipe, LISTENER_CLOSED, len(LISTENER_CLOSED), zero="fail")

    def ready(self) -> None:
        """Say READY to the parent, and let go of the sync pipe."""
        self.at("ReadFromChild")
        self.call("write", self.pipe, READY, len(READY), zero="fail")
        self.call("close", self.pipe)
        self._failed = "start failed"

    def close_on_exec(self) -> None:
        """Let the exec close the sync pipe: where there is no `start`, that tells the parent."""
        self.at("Execv")
        self.call("fcntl", self.pipe, F_SETFD, FD_CLOEXEC)

    def wait(self, also: "tuple[int, ...]" = ()) -> None:
        """Wait for a byte from `start`, and say on the status FIFO that this one was it.

        `also` are more descriptors that must not reach the container's program.
        """
        self.at(START)
        # Held read-write, so there is no end of file and no SIGPIPE. From here on both must close
        # by themselves in the exec: that is what `start` waits for.
        for fd in (self.go, self.status, *also):
            self.call("fcntl", fd, F_SETFD, FD_CLOEXEC, error="die")
        self.call("read", self.go, Address(_BYTE), 1, retry=True, error="die", zero="die")
        self.call("write", self.status, STARTED, 1, error="die")

    def hook(self, index: int, path: str, argv: "list[str]", env: "list[str]", state: int) -> None:
        """Run one `startContainer` hook, a program of the container's, and wait for its end.

        `state` is a descriptor of the state, which becomes its standard input. A failure is told
        to `start`, and ends everything.
        """
        self.at(START_HOOK, f"hooks.startContainer[{index}]", path)
        begin, done, failed = f"hook {index}", f"hook {index} done", f"hook {index} failed"
        self.call("clone", _SIGCHLD, save=_PID, error="start failed", zero=begin)
        self.call("wait4", Saved(_PID), Address(_STATUS), retry=True, error="start failed")
        self.compare(Saved(_STATUS), 0, equal=done, differ=failed)
        self.label(begin)
        self.call("dup3", state, 0, error="die")
        self.call("lseek", 0, error="die")  # the hook before has read it to its end
        arguments = Array([_bytes(text) for text in argv])
        environment = Array([_bytes(text) for text in env])
        self.call("execve", _bytes(path), arguments, environment, error="again")
        self.at(HOOK_ENDED, f"hooks.startContainer[{index}]", path)
        self.label(failed)  # a comparison: its result is the negative of the wait status
        self._record(-1, (0, Saved(_STATUS)), _IGNORED, ("start failed", None, None), False)
        self.label(done)

    def execve(
        self,
        path: str,
        argv: "list[str]",
        env: "list[str]",
        *,
        say: bool = True,
        first: "Sequence[str]" = (),
    ) -> None:
        """Become the container's program; or tell `start` why not, and with `say` the user, too.

        Args:
            first: where it may be instead: these are tried before
        """
        self.at(EXEC, "process.args[0]", path)
        arguments = Array([_bytes(text) for text in argv])
        environment = Array([_bytes(text) for text in env])
        for number, other in enumerate(first):
            after = f"not place {number}"
            self.call("execve", _bytes(other), arguments, environment, error=after)
            self.label(after)
        program = _bytes(path)
        self.call("execve", program, arguments, environment, save=_EXEC_RESULT, error="exec failed")
        self.label("exec failed")
        self.call("write", self.status, Address(_FAULT), RECORD_SIZE, error=None)
        if not say:
            self.compare(0, 0, equal="die")
            return
        for errno in _EXEC_ERRNOS:
            self.compare(Saved(_EXEC_RESULT), -errno, equal=f"exec failed: {errno}")
        for errno in (0, *_EXEC_ERRNOS):
            self.label(f"exec failed: {errno}")
            reason = words(errno) if errno else "refused by the kernel"
            # The words that a user of runc knows, on the container's own standard error.
            text = b"exec " + program + f": {reason}\n".encode()
            self.call("write", 2, text, len(text), error="die", zero="die", positive="die")

    def compile(self) -> bytes:
        """Write the file: an executable that runs the list once."""
        self.at("Finish")
        self.label("fail")
        self.call("write", self.pipe, Address(_FAULT), RECORD_SIZE, error="die", positive="die")
        self.label("start failed")
        self.call("write", self.status, Address(_FAULT), RECORD_SIZE, error="die")
        self.label("die")
        self.call("exit_group", 1)
        self.label("again")
        self.call("exit_group", _EXIT_AGAIN)

        words_base = loop.ENTRIES + loop.ENTRY.size * len(self._entries)
        string = words_base + 8 * len(self._words)
        values, strings = [], []
        for word in self._words:
            if isinstance(word, bytes):
                values.append(string)
                strings.append(word + b"\0")
                string += len(word) + 1
            elif isinstance(word, _Words):
                values.append(words_base + 8 * word)
            else:
                values.append(word & 0xFFFFFFFFFFFFFFFF)
        labels = self._labels
        pack = loop.ENTRY.pack
        body = []
        for index, (number, places, save, then, retry) in enumerate(self._entries, 1):
            arguments = [
                place if place >= loop.SCRATCH else words_base + 8 * place for place in places
            ]
            pointers = [
                loop.ENTRIES + loop.ENTRY.size * (index if name is None else labels[name])
                for name in then
            ]
            body.append(pack(number, *arguments, loop.SCRATCH + 8 * save, *pointers, retry))
        body.append(struct.pack(f"<{len(values)}Q", *values))
        return loop.elf(self.machine, b"".join(body + strings))


# Why the kernel refuses a program, as far as words for it are worth their bytes.
_EXEC_ERRNOS = (1, 2, 7, 8, 12, 13, 20, 26, 40)


class AtOnce:
    """Makes the calls now, in this process, instead of recording them."""

    __slots__ = ("step",)

    prctl = staticmethod(syscalls.prctl)
    setgroups = staticmethod(syscalls.setgroups)
    setresgid = staticmethod(syscalls.setresgid)
    setresuid = staticmethod(syscalls.setresuid)
    capset = staticmethod(syscalls.capset)
    capbset_drop = staticmethod(syscalls.capbset_drop)
    cap_ambient_clear_all = staticmethod(syscalls.cap_ambient_clear_all)
    cap_ambient_raise = staticmethod(syscalls.cap_ambient_raise)
    seccomp_set_mode_filter = staticmethod(syscalls.seccomp_set_mode_filter)
    chdir = staticmethod(posix.chdir)

    def __init__(self) -> None:
        self.step: tuple[str, str | None, str] = ("Finish", None, "")

    def at(self, step: str, field: "str | None" = None, what: str = "") -> None:
        """Name the step, the field of config.json and the words for the calls that follow."""
        self.step = (step, field, what)

    @staticmethod
    def check_ids(uid: int, gid: int) -> None:
        """Read all six ids back; raise OSError(EPERM) where one is not what was set."""
        if posix.getresuid() != (uid, uid, uid) or posix.getresgid() != (gid, gid, gid):
            raise OSError(_EPERM, "the ids read back are not those that were set")

    @staticmethod
    def write_beneath(directory: int, path: str, data: bytes) -> None:
        """Open a file by a way that stays below the directory, write to it, and close it."""
        fd = syscalls.openat2(directory, path, _TO_WRITE, 0, _STAY)
        try:
            posix.write(fd, data)
        finally:
            posix.close(fd)


def write_executable(data: bytes) -> int:
    """Put the list into a sealed file that nobody can change or reach by a path.

    Returns a close-on-exec descriptor for execveat(2). It is a memfd; where `vm.memfd_noexec`
    forbids to run those, a file on a tmpfs that is mounted nowhere and read-only.
    """
    flags = MFD_CLOEXEC | MFD_ALLOW_SEALING
    try:
        try:
            fd = posix.memfd_create("lcpy:finish", flags | MFD_EXEC)
        except OSError as error:
            if error.errno != 22:  # EINVAL: a kernel before 6.3 does not know the flag
                raise
            fd = posix.memfd_create("lcpy:finish", flags)
    except PermissionError:
        return _write_on_tmpfs(data)
    _write(fd, data)
    posix.fchmod(fd, 0o555)
    fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
    return fd


def _write_on_tmpfs(data: bytes) -> int:
    context = syscalls.fsopen("tmpfs", FSOPEN_CLOEXEC)
    syscalls.fsconfig_create(context)
    mount = syscalls.fsmount(context, FSMOUNT_CLOEXEC, 0)
    posix.close(context)
    fd = syscalls.openat2(mount, "finish", posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC, 0o555)
    _write(fd, data)
    posix.close(fd)  # a file that is open for writing can't be run
    fd = syscalls.openat2(mount, "finish", posix.O_RDONLY | posix.O_CLOEXEC)
    syscalls.mount_setattr(mount, "", AT_EMPTY_PATH, attr_set=MOUNT_ATTR_RDONLY)
    posix.close(mount)
    return fd


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[posix.write(fd, data) :]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
