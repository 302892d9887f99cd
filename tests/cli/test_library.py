"""The library, from programs with one thread and with many.

Each test is a program of its own: pytest has threads, or may have. Its children, and those of the
launcher, are guarded as those of the command are (tests/lcpy_audited.py).
"""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle, Lcpy

TESTS = Path(__file__).resolve().parents[1]
CHECKOUT = TESTS.parent

ONE_THREAD = f"""
import os, sys, time
sys.path += [{str(CHECKOUT)!r}, {str(TESTS)!r}]
import lcpy_audited
from libcontainer_py.namespaces import launcher, seal
seal.seal = lcpy_audited.guarded(seal.seal)
launcher.PROGRAM = (
    "import sys; sys.path += sys.argv[2:]; import lcpy_audited;"
    "from libcontainer_py.namespaces import launcher, seal;"
    "seal.seal = lcpy_audited.guarded(seal.seal); launcher.main(int(sys.argv[1]))"
)
from libcontainer_py import *
root, bundle, id = sys.argv[1:4]
runtime = Runtime(root)

def raises(kind, call, *args, **options):
    try:
        call(*args, **options)
    except kind as error:
        return error
    raise AssertionError(f"no {{kind.__name__}}")

def fds():
    return set(os.listdir("/proc/self/fd"))
"""

FOUR_THREADS = (
    ONE_THREAD
    + """
import threading
end = False
def busy():
    while not end:
        sum(range(100))
for _ in range(4):
    threading.Thread(target=busy, daemon=True).start()
"""
)

Program = Callable[..., str]


@pytest.fixture(params=[ONE_THREAD, FOUR_THREADS], ids=["one thread", "four threads"])
def program(request: pytest.FixtureRequest, lcpy: "Lcpy", bundle: "Bundle") -> Program:
    """Run a program that has `runtime`, `bundle` and `id`; return what it prints."""

    def run(text: str, *args: str) -> str:
        path = bundle(*(args or ("sleep", "60")))
        code = request.param + textwrap.dedent(text) + "\nend = True\n"
        argv = [sys.executable, "-I", "-c", code, str(lcpy.root), str(path), lcpy.new_id()]
        # Files: a container that the program has left behind would keep pipes open.
        out, err = path / "stdout", path / "stderr"
        with out.open("w") as stdout, err.open("w") as stderr:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                timeout=60,
                check=False,
            )
        assert (done.returncode, err.read_text()) == (0, "")
        return out.read_text()

    return run


def test_create_start_wait_delete(program: Program) -> None:
    said = program(
        """
        container = runtime.create(id, bundle)
        assert container.status == "created", container.status
        process = container.process
        assert process.returncode is None and process.poll() is None
        assert container.state()["pid"] == process.pid
        container.start()
        assert process.wait(timeout=10) == 3 == process.returncode == process.poll()
        assert container.status == "stopped"
        container.delete()
        raises(NotFound, container.state)
        raises(NotFound, runtime.get, id)
        process.close()
        """,
        "sh",
        "-c",
        "echo said; exit 3",
    )
    assert said == "said\n"


def test_run(program: Program) -> None:
    said = program(
        """
        container = runtime.run(id, bundle)
        print(container.process.wait(), flush=True)
        container.delete()
        """,
        "echo",
        "said",
    )
    assert said == "said\n0\n"


def test_pipes(program: Program) -> None:
    """What is written comes back; no descriptor is left, in us or in the container."""
    program(
        """
        before = fds()
        with runtime.create(id, bundle, stdin=PIPE, stdout=PIPE, stderr=DEVNULL) as container:
            process = container.process
            assert process.stderr is None
            container.start()
            process.stdin.write("grüße\\n".encode() * 1000)
            process.stdin.close()
            data = b""
            while part := process.stdout.read(65536):
                data += part
            assert data == "grüße\\n".encode() * 1000, data[:100]
            assert process.wait(10) == 0
        assert fds() == before, (fds(), before)
        """,
        "sh",
        "-c",
        "echo nobody reads this >&2; cat",
    )


def test_streams_may_be_files_and_descriptors(program: Program) -> None:
    said = program(
        """
        with open(bundle + "/in", "w+") as file, open(bundle + "/out", "w+") as out:
            file.write("from a file\\n")
            file.seek(0)
            with runtime.run(id, bundle, stdin=file, stdout=out.fileno(), stderr=1) as container:
                assert container.process.wait(10) == 0
            print(open(bundle + "/out").read(), end="")
        """,
        "sh",
        "-c",
        "cat; echo to one >&2",
    )
    assert said == "to one\nfrom a file\n"


def test_a_signal_is_negative(program: Program) -> None:
    program(
        """
        with runtime.run(id, bundle) as container:
            container.process.send_signal(9)
            assert container.process.wait(10) == -9
            container.process.send_signal(9)  # of one that has ended: nothing
        """
    )


def test_wait_with_a_timeout(program: Program) -> None:
    program(
        """
        with runtime.run(id, bundle) as container:
            start = time.monotonic()
            error = raises(TimeoutError, container.process.wait, timeout=0.1)
            assert 0.09 < time.monotonic() - start < 5
            assert container.process.poll() is None
        assert container.process.returncode == -9, container.process.returncode
        """
    )


def test_it_is_our_own_child(program: Program) -> None:
    """Also where a launcher made it: by its number, by its pidfd, and by nobody else."""
    program(
        """
        import select
        container = runtime.run(id, bundle)
        process = container.process
        with open(f"/proc/{process.pid}/stat") as file:
            assert int(file.read().rpartition(")")[2].split()[1]) == os.getpid()
        poll = select.poll()
        poll.register(process, select.POLLIN)
        assert not poll.poll(0)
        container.kill(9)
        assert poll.poll(10000)
        result = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert (result.si_pid, result.si_status) == (process.pid, 9), result
        assert process.wait() == -9
        container.delete()
        raises(ChildProcessError, os.waitpid, -1, os.WNOHANG)  # not a launcher's either
        """
    )


def test_the_context_manager(program: Program) -> None:
    """It deletes, also after an error; `detach` keeps."""
    program(
        """
        with runtime.create(id, bundle) as container:
            pid = container.process.pid
        raises(NotFound, runtime.get, id)
        assert not os.path.exists(f"/proc/{pid}")

        class Mine(Exception): pass
        try:
            with runtime.run(id, bundle):
                raise Mine
        except Mine:
            pass
        raises(NotFound, runtime.get, id)

        with runtime.run(id, bundle) as container:
            container.detach()
        again = runtime.get(id)
        assert again.status == "running"
        assert again.process is None
        raises(WrongState, again.delete)
        again.delete(force=True)
        again.delete(force=True)  # of none: nothing
        raises(NotFound, again.delete)
        """
    )


def test_list(program: Program) -> None:
    program(
        """
        assert runtime.list() == []
        runtime.create(id + "-b", bundle)
        runtime.create(id + "-a", bundle)
        os.mkdir(root + "/no container")
        os.mkdir(root + "/half")
        assert [each.id for each in runtime.list()] == [id + "-a", id + "-b"]
        for each in runtime.list():
            each.delete()
        os.rmdir(root + "/half")
        os.rmdir(root + "/no container")
        assert runtime.list() == []
        """
    )


def test_what_is_raised(program: Program) -> None:
    """The types, with what they know; and nothing is left, not even a descriptor."""
    program(
        """
        import json
        before = fds()
        def refused(kind, **changes):
            with open(bundle + "/config.json") as file:
                config = json.load(file)
            config["process"].update(changes)
            os.makedirs(bundle + "/other", exist_ok=True)
            config["root"]["path"] = "../rootfs"
            with open(bundle + "/other/config.json", "w") as file:
                json.dump(config, file)
            error = raises(kind, runtime.create, id, bundle + "/other", stdin=PIPE, stdout=PIPE)
            assert isinstance(error, Error)
            assert str(error).count("\\n") == 0
            assert not os.path.exists(root) or os.listdir(root) == []
            return error

        error = refused(ConfigError, cwd="relative")
        assert isinstance(error, ValueError) and error.field == "process.cwd", error
        error = refused(StepError, args=["nosuch"])
        assert isinstance(error, OSError)
        assert (error.step, error.field) == ("Execv", "process.args[0]"), vars(error)
        error = refused(StepError, cwd="/etc/passwd")
        assert (error.errno, error.field) == (20, "process.cwd"), vars(error)
        raises(ConfigError, runtime.create, "../id", bundle)
        raises(ConfigError, runtime.create, id, bundle + "/nowhere")
        raises(NotFound, runtime.get, id)
        raises(ConfigError, runtime.get, "..")

        with runtime.create(id, bundle) as container:
            raises(Exists, runtime.create, id, bundle)
            raises(StepError, container.kill, 100)
            container.start()
            raises(WrongState, container.start)
            raises(WrongState, container.delete)
            container.kill(9)
            container.process.wait(10)
            raises(WrongState, container.kill, 9)
            raises(WrongState, container.start)
        assert fds() == before, (fds(), before)
        """
    )


def test_a_program_of_a_wrong_format(program: Program) -> None:
    """`start` raises it; `run` deletes the container, too."""
    program(
        """
        with open(bundle + "/rootfs/bin/wrong", "w") as file:
            file.write("nonsense")
        os.chmod(bundle + "/rootfs/bin/wrong", 0o755)
        error = raises(StepError, runtime.run, id, bundle, stderr=DEVNULL)
        assert (error.errno, error.step, error.field) == (8, "Execv", "process.args[0]")
        raises(NotFound, runtime.get, id)
        """,
        "/bin/wrong",
    )


def test_warnings_of_the_config(program: Program) -> None:
    program(
        """
        import json
        with open(bundle + "/config.json") as file:
            config = json.load(file)
        config["process"]["capabilities"]["ambient"] = ["CAP_KILL"]
        with open(bundle + "/config.json", "w") as file:
            json.dump(config, file)
        with runtime.create(id, bundle) as container:
            assert len(container.warnings) == 1 and "CAP_KILL" in container.warnings[0]
        """
    )


def test_pid_file_and_preserved_descriptors(program: Program) -> None:
    said = program(
        """
        fd = os.open(bundle + "/config.json", os.O_RDONLY)
        if fd != 3:
            os.dup2(fd, 3)
        os.set_inheritable(3, False)
        os.chdir(bundle)
        with runtime.run(id, bundle, pid_file="pid", preserve_fds=1) as container:
            assert open("pid").read() == str(container.process.pid)
            assert container.process.wait(10) == 0
        assert not os.get_inheritable(3)  # for whatever else this program starts
        """,
        "sh",
        "-c",
        "head -c 1 <&3",
    )
    assert said == "{"


def test_a_child_that_did_not_become_a_container_is_reaped(program: Program) -> None:
    program(
        """
        before = fds()
        error = raises(StepError, runtime.create, id, bundle)
        assert error.step == "Execv", error
        raises(ChildProcessError, os.waitpid, -1, os.WNOHANG)
        assert fds() == before
        """,
        "/nonexistent",
    )


def test_what_went_wrong_while_it_was_undone(program: Program) -> None:
    program(
        """
        import json
        with open(bundle + "/config.json") as file:
            config = json.load(file)
        config["hooks"] = {"poststop": [{"path": "/bin/false"}]}
        with open(bundle + "/config.json", "w") as file:
            json.dump(config, file)
        error = raises(StepError, runtime.create, id, bundle)
        assert error.__notes__ == ["error running poststop hook #0: exit status 1"], error.__notes__
        """,
        "/nonexistent",
    )


def test_a_stream_that_is_closed(program: Program) -> None:
    """A file of ours would get its number, and be the container's."""
    program(
        """
        if len(os.listdir("/proc/self/task")) == 1:  # else it is subprocess that refuses
            os.close(0)
            error = raises(Error, runtime.create, id, bundle)
            assert str(error) == "stdin: descriptor 0 is not open", error
            assert not os.path.exists(root)
        """
    )


def test_sockets_to_listen_on(program: Program) -> None:
    said = program(
        """
        fds = [os.open(bundle + "/config.json", os.O_RDONLY) for _ in range(4)]
        os.environ["LISTEN_FDS"] = "9"  # the caller's own affair
        with runtime.run(id, bundle, listen_fds=1, preserve_fds=1) as container:
            assert container.process.wait(10) == 0
        """,
        "sh",
        "-c",
        "echo $LISTEN_FDS $LISTEN_PID; ls /proc/self/fd | xargs",
    )
    assert said == "1 1\n0 1 2 3 4 5\n"


def test_what_it_uses_and_may_use(program: Program) -> None:
    program(
        """
        from libcontainer_py.spec.model import Pids, Resources
        with runtime.run(id, bundle) as container:
            before = fds()
            assert container.pids() == [container.process.pid]
            container.pause()
            assert container.status == "paused"
            raises(WrongState, container.pause)
            container.resume()
            raises(WrongState, container.resume)
            assert container.status == "running"
            container.update({"pids": {"limit": 7}})
            assert container.stats()["pids"] == {"current": 1, "limit": 7}
            container.update(Resources(pids=Pids(limit=8)))
            assert container.stats()["pids"] == {"current": 1, "limit": 8}
            for wrong in ({"pids": 7}, {"cpu": {"shares": "x"}}, [], Pids(limit=3)):
                raises((ConfigError, TypeError), container.update, wrong)
            raises(ConfigError, container.events, 0)
            raises(ConfigError, container.events, -1.5)
            events = container.events(0.02)
            assert [next(events)["type"] for _ in range(3)] == ["stats"] * 3
            container.kill(9)
            assert all(event["type"] == "stats" for event in events)
            assert container.process.wait(10) == -9
            assert container.pids() == []
            for call in (container.stats, container.pause, container.events):
                raises(WrongState, call)
            raises(WrongState, container.update, {})
            assert fds() == before
        raises(NotFound, container.pids)
        """
    )


def test_the_caller_is_left_as_it_was(program: Program) -> None:
    """Its namespaces, ids, signals, umask, directory and cgroups."""
    program(
        """
        import signal
        def look():
            links = [os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")]
            status = open("/proc/self/status").read().splitlines()
            kept = [line for line in status if line.startswith(("Uid", "Gid", "Groups", "Cap",
                    "Sig", "Umask", "NoNewPrivs"))]
            return links, [line for line in kept if not line.startswith(("SigQ", "SigPnd"))], (
                os.getcwd(), open("/proc/self/cgroup").read(), signal.pthread_sigmask(0, ()))
        before = look()
        with runtime.run(id, bundle) as container:
            container.process.send_signal(15)
        assert look() == before
        """
    )


def test_a_timeout_beyond_the_kernels(program: Program) -> None:
    """poll(2) takes no more than 24 days."""
    program(
        """
        with runtime.run(id, bundle) as container:
            container.kill(9)
            assert container.process.wait(timeout=1e10) == -9
        """
    )


def test_a_mistake_of_the_launchers(program: Program) -> None:
    """Is raised here, and leaves no page on the container's standard error."""
    program(
        """
        from libcontainer_py.namespaces.config import Options
        broken = "launcher.exec_ = max; launcher.main"
        launcher.PROGRAM = launcher.PROGRAM.replace("launcher.main", broken)
        error = raises(Error, launcher.launch, root, id, bundle, Options(stdio=(0, 1, 2)))
        assert str(error).startswith("internal error: TypeError: "), error
        """
    )
