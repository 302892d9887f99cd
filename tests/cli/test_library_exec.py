"""`Container.exec`, from programs with one thread and with many (see test_library.py)."""

from tests.cli.test_library import Program, program

__all__ = ["program"]


def test_pipes_and_returncode(program: Program) -> None:
    program(
        """
        with runtime.run(id, bundle) as container:
            before = fds()
            process = container.exec(["sh", "-c", "cat; echo error >&2; exit 3"],
                                     stdin=PIPE, stdout=PIPE, stderr=PIPE)
            assert process.returncode is None
            process.stdin.write("grüße".encode())
            process.stdin.close()
            assert process.stdout.read() == "grüße".encode()
            assert process.stderr.read() == b"error\\n"
            assert process.wait(10) == 3 == process.returncode == process.poll()
            process.close()
            assert fds() == before, (fds(), before)
            assert container.status == "running"
        """
    )


def test_it_is_our_own_child(program: Program) -> None:
    """Whoever made it; none of those that did is left as a zombie."""
    program(
        """
        import select
        with runtime.run(id, bundle) as container:
            process = container.exec(["sleep", "30"])
            with open(f"/proc/{process.pid}/stat") as file:
                assert int(file.read().rpartition(")")[2].split()[1]) == os.getpid()
            def children():
                found = []
                for task in os.listdir("/proc/self/task"):
                    with open(f"/proc/self/task/{task}/children") as file:
                        found += file.read().split()
                return set(map(int, found))
            assert children() == {process.pid, container.process.pid}
            poll = select.poll()
            poll.register(process, select.POLLIN)
            assert not poll.poll(0)
            process.send_signal(15)
            assert poll.poll(10000)
            assert process.wait(10) == -15
            assert children() == {container.process.pid}
            process.close()
        """
    )


def test_what_it_takes(program: Program) -> None:
    said = program(
        """
        with runtime.run(id, bundle) as container:
            def says(*args, **options):
                process = container.exec(list(args), stdout=PIPE, **options)
                data = process.stdout.read().decode()
                assert process.wait(10) == 0
                process.close()
                return data
            assert says("id", user=(5, 6), additional_gids=[7]) == "uid=5 gid=6 groups=7\\n"
            assert says("id", user=(5, None)) == "uid=5 gid=0(root)\\n"
            assert says("pwd", cwd="/tmp") == "/tmp\\n"
            assert "A=b\\n" in says("env", env=("A=b",))
            text = says("cat", "/proc/self/status", capabilities=["CAP_CHOWN"],
                        no_new_privileges=True)
            assert "CapPrm:\\t0000000020000421" in text, text
            assert "NoNewPrivs:\\t1" in text
            process = {"args": ["/bin/echo", "by an object"], "cwd": "/"}
            done = container.exec(process=process, stdin=DEVNULL)
            assert done.wait(10) == 0
            assert process == {"args": ["/bin/echo", "by an object"], "cwd": "/"}
            process = container.exec(["sleep", "30"], pid_file=bundle + "/pid", detach=True)
            assert open(bundle + "/pid").read() == str(process.pid)
            assert open(f"/proc/{process.pid}/comm").read() == "sleep\\n"
            process.send_signal(9)
            assert process.wait(10) == -9
            with open(bundle + "/out", "w+") as file:
                assert container.exec(["echo", "to a file"], stdout=file).wait(10) == 0
                file.seek(0)
                assert file.read() == "to a file\\n"
        """
    )
    assert said == "by an object\n"


def test_a_terminal(program: Program) -> None:
    program(
        """
        import array, socket
        with runtime.run(id, bundle) as container:
            before = fds()
            process = container.exec(["sh", "-c", "tty; read word; echo got $word"], terminal=True)
            shown = b""
            while b"/dev/pts/0\\r\\n" not in shown:
                shown += os.read(process.terminal, 4096)
            os.write(process.terminal, b"hello\\n")
            try:
                while part := os.read(process.terminal, 4096):
                    shown += part
            except OSError as error:
                assert error.errno == 5
            assert shown == b"/dev/pts/0\\r\\nhello\\r\\ngot hello\\r\\n", shown
            assert process.wait(10) == 0
            process.close()
            assert fds() == before, (fds(), before)

            listener = socket.socket(socket.AF_UNIX)
            listener.bind(bundle + "/console")
            listener.listen()
            process = container.exec(["tty"], terminal=True, console_socket=bundle + "/console",
                                     detach=True)
            assert process.terminal is None
            connection = listener.accept()[0]
            _data, rights, _flags, _address = connection.recvmsg(100, 100)
            master = array.array("i", rights[0][2])[0]
            assert process.wait(10) == 0
            assert os.read(master, 100) == b"/dev/pts/0\\r\\n"
            for each in (connection, listener):
                each.close()
            os.close(master)
            process.close()
            assert fds() == before, (fds(), before)
        """
    )


def test_what_is_raised(program: Program) -> None:
    """The types, with what they know; no descriptor and no child is left."""
    program(
        """
        def children():
            found = []
            for task in os.listdir("/proc/self/task"):
                with open(f"/proc/self/task/{task}/children") as file:
                    found += file.read().split()
            return found
        with runtime.create(id, bundle) as container:
            before = fds()
            def refused(kind, args=("true",), **options):
                error = raises(kind, container.exec, list(args), stdin=PIPE, stdout=PIPE, **options)
                assert isinstance(error, Error)
                assert str(error).count("\\n") == 0
                assert fds() == before, (error, fds(), before)
                assert children() == [str(container.process.pid)], error
                return error

            error = refused(StepError, ["nosuch"])
            assert isinstance(error, OSError)
            assert (error.step, error.field) == ("Execv", "process.args[0]"), vars(error)
            error = refused(StepError, ["/nosuch"])
            assert (error.errno, error.step) == (2, "Execv"), vars(error)
            error = refused(StepError, cwd="/etc/passwd")
            assert (error.errno, error.field) == (20, "process.cwd"), vars(error)
            assert error.step == "FinalizeNamespace"
            with open(bundle + "/rootfs/bin/wrong", "w") as file:
                file.write("nonsense")
            os.chmod(bundle + "/rootfs/bin/wrong", 0o755)
            error = refused(StepError, ["wrong"], stderr=DEVNULL)
            assert (error.errno, error.step, error.field) == (8, "Execv", "process.args[0]")
            error = refused(ConfigError, cwd="tmp")
            assert isinstance(error, ValueError) and error.field == "process.cwd", error
            refused(ConfigError, args=[])
            refused(ConfigError, user=(2**31, None))
            refused(ConfigError, terminal=True, detach=True)
            refused(StepError, terminal=True, console_socket=bundle + "/nosuch", detach=True)
            refused(StepError, pidfd_socket=bundle + "/nosuch")
            refused(StepError, pid_file=bundle + "/nosuch/pid")
            refused(ConfigError, capabilities=["CAP_KILL"], cgroups={"nosuch": "x"})
            refused(Error, preserve_fds=200)

            container.start()
            container.pause()
            error = refused(WrongState)
            what = "cannot exec in a paused container (use --ignore-paused to override)"
            assert str(error) == what
            container.resume()
            container.kill(9)
            container.process.wait(10)
            error = raises(WrongState, container.exec, ["true"])
            assert str(error) == "cannot exec in a stopped container"
        raises(NotFound, container.exec, ["true"])
        raises(NotFound, container.exec, process={"args": ["true"], "cwd": "/"})
        """
    )


def test_warnings(program: Program) -> None:
    program(
        """
        with runtime.run(id, bundle) as container:
            assert container.warnings == []
            assert container.exec(["true"], capabilities=["CAP_NOPE"]).wait(10) == 0
            assert len(container.warnings) == 1 and "CAP_NOPE" in container.warnings[0]
        """
    )


def test_many(program: Program) -> None:
    """One after the other and at once, into one container; each has its own streams and end."""
    program(
        """
        with runtime.run(id, bundle) as container:
            before = fds()
            processes = [container.exec(["sh", "-c", f"read x; echo {number}; exit {number}"],
                                        stdin=PIPE, stdout=PIPE) for number in range(12)]
            for number, process in reversed(list(enumerate(processes))):
                process.stdin.write(b"\\n")
                assert process.stdout.read() == b"%d\\n" % number
                assert process.wait(10) == number
                process.close()
            assert fds() == before, (fds(), before)
        """
    )


def test_from_threads_at_once(program: Program) -> None:
    program(
        """
        from concurrent.futures import ThreadPoolExecutor
        with runtime.run(id, bundle) as container:
            before = fds()
            def one(number):
                process = container.exec(["echo", str(number)], stdout=PIPE, stderr=PIPE)
                with process.stdout, process.stderr:
                    data = process.stdout.read(), process.stderr.read(), process.wait(20)
                process.close()
                return data
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(one, range(12)))
            assert found == [(b"%d\\n" % number, b"", 0) for number in range(12)], found
            assert fds() == before, (fds(), before)
        """
    )


def test_the_container_ends_meanwhile(program: Program) -> None:
    program(
        """
        container = runtime.run(id, bundle)
        process = container.exec(["sleep", "30"])
        container.kill(9)
        assert process.wait(10) == -9
        assert container.process.wait(10) == -9
        container.delete()
        process.close()
        """
    )


def test_the_caller_is_left_as_it_was(program: Program) -> None:
    """Its namespaces, ids, rights, signals, umask, directory, keyring and cgroups."""
    program(
        """
        import signal
        def look():
            links = [os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")]
            status = open("/proc/self/status").read().splitlines()
            kept = [line for line in status if line.startswith(("Uid", "Gid", "Groups", "Cap",
                    "SigI", "SigB", "SigC", "Umask", "NoNewPrivs", "Seccomp"))]
            return links, kept, os.getcwd(), open("/proc/self/cgroup").read(), (
                signal.pthread_sigmask(signal.SIG_BLOCK, ()), os.path.exists("/proc/self/fd/0"))
        with runtime.run(id, bundle) as container:
            before = look()
            assert container.exec(["true"], user=(1, 1)).wait(10) == 0
            raises(StepError, container.exec, ["nosuch"], cwd="/tmp")
            assert look() == before
        """
    )


def test_it_needs_no_config_json_where_it_has_a_process(program: Program) -> None:
    program(
        """
        with runtime.run(id, bundle) as container:
            os.rename(bundle + "/config.json", bundle + "/gone")
            process = {"args": ["/bin/true"], "cwd": "/"}
            assert container.exec(process=process).wait(10) == 0
            error = raises(ConfigError, container.exec, ["true"])
            assert "config.json not found" in str(error), error
        """
    )


def test_left_running(program: Program) -> None:
    """What is still running in there at the end is killed and reaped with the container."""
    program(
        """
        before = fds()
        begun = time.monotonic()
        with runtime.run(id, bundle) as container:
            processes = [container.exec(["sleep", "1000"]) for _ in range(3)]
        assert time.monotonic() - begun < 8
        assert [process.returncode for process in processes] == [-9] * 3
        raises(ChildProcessError, os.waitpid, -1, os.WNOHANG)
        for process in processes:
            process.close()
        assert fds() == before, (fds(), before)
        """
    )


def test_it_is_deleted_with_what_runs_in_it(program: Program) -> None:
    """Also in a pid namespace of others: nobody waits there for one who was not killed yet."""
    program(
        """
        import json
        with open(bundle + "/config.json") as file:
            config = json.load(file)
        kinds = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [each for each in kinds if each["type"] != "pid"]
        with open(bundle + "/config.json", "w") as file:
            json.dump(config, file)
        container = runtime.run(id, bundle)
        others = [container.exec(["sleep", "60"]) for _ in range(3)]
        begun = time.monotonic()
        container.delete(force=True)
        assert time.monotonic() - begun < 8, time.monotonic() - begun
        assert [each.wait(5) for each in others] == [-9, -9, -9]
        """
    )


def test_a_process_is_not_changed(program: Program) -> None:
    program(
        """
        process = {"args": ["/bin/true"], "cwd": "/"}
        with runtime.run(id, bundle) as container:
            raises(TypeError, container.exec, ["true"], process=process)
            for option in ({"user": (1, 1)}, {"terminal": True}, {"env": ["A=b"]},
                           {"no_new_privileges": False}, {"label": "x"}):
                raises(TypeError, container.exec, process=process, **option)
            assert container.exec(process=process).wait(10) == 0
        """
    )
