"""What the tests of config.json share: one container run by lcpy, or by the installed runc."""

import copy
import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import PR_SET_CHILD_SUBREAPER
from tests.conftest import copy_root

if TYPE_CHECKING:
    from tests.conftest import Completed, Config, Lcpy

Change = Callable[["Config"], object]


class Box:
    """Runs BusyBox in containers whose config.json is the default one, changed.

    The root filesystem is one for all, and read-only; `own_root` asks for a writable copy.
    """

    def __init__(self, lcpy: "Lcpy", busybox_root: Path, directory: Path) -> None:
        self.lcpy = lcpy
        self._root = busybox_root
        self._directory = directory
        self._numbers = itertools.count()

    def bundle(
        self, args: Iterable[str], change: Change | None = None, own_root: bool = False
    ) -> Path:
        """Make a bundle whose program has the arguments `args`."""
        from libcontainer_py.spec import default

        path = self._directory / f"box-{next(self._numbers)}"
        path.mkdir()
        config: Config = default.default()
        config["process"]["terminal"] = False
        config["process"]["args"] = list(args)
        if own_root:
            copy_root(self._root, path / "rootfs")
            config["root"] = {"path": "rootfs"}
        else:
            config["root"] = {"path": str(self._root), "readonly": True}
        if change is not None:
            change(config)
        (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return path

    def run(
        self,
        *args: str,
        change: Change | None = None,
        own_root: bool = False,
        flags: Iterable[str] = (),
        prefix: Iterable[str] = (),
        bundle: Path | None = None,
        runtime: str = "lcpy",
        **options: Any,
    ) -> "Completed":
        """Run a program in a new container to its end.

        `prefix` is a command that runs the runtime; `runtime` is ``lcpy`` or ``runc``.
        """
        if bundle is None:
            bundle = self.bundle(args, change, own_root)
        if runtime == "runc":
            argv = ["runc", "--root", str(self._directory / "runc")]
        else:
            argv = self.lcpy.argv()
        argv = [*prefix, *argv, "run", *flags, "--bundle", str(bundle), self.lcpy.new_id()]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err}
            options = streams | options
            done = subprocess.run(argv, timeout=60, check=False, **options)
            out.seek(0)
            err.seek(0)
            # Not the locale's encoding: what the program prints is its own affair.
            stdout = out.read().decode("utf-8", "surrogateescape")
            stderr = err.read().decode("utf-8", "surrogateescape")
        return subprocess.CompletedProcess(argv, done.returncode, stdout, stderr)

    def out(self, *args: str, **options: Any) -> str:
        """What a program prints that ends well; the runtime itself must print nothing."""
        done = self.run(*args, **options)
        assert done.returncode == 0, done.stderr
        if options.get("runtime") != "runc":
            assert done.stderr == ""
        return done.stdout

    def sh(self, script: str, **options: Any) -> str:
        """What a shell script prints that ends well."""
        return self.out("sh", "-c", script, **options)

    def lines(self, script: str, **options: Any) -> list[str]:
        """The lines that a shell script prints."""
        return self.sh(script, **options).splitlines()

    def refused(self, *args: str, **options: Any) -> str:
        """The one line that a container which can't be leaves behind, and nothing else."""
        done = self.run(*(args or ("true",)), **options)
        assert done.returncode == 1, (done.stdout, done.stderr)
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1, done.stderr
        assert "level=error" in done.stderr
        state = self.lcpy.root
        assert not state.is_dir() or os.listdir(state) == []
        return done.stderr

    def both(self, script: str, **options: Any) -> str:
        """What a script prints, when it is the same under runc."""
        said = self.sh(script, **copy.copy(options))
        assert self.sh(script, **options, runtime="runc") == said
        return said


@pytest.fixture(autouse=True)
def reaper(machine_unchanged: None) -> Iterator[None]:
    """Reap what `create` leaves behind; init may take seconds, and a dead process is still one."""
    syscalls.prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    syscalls.prctl(PR_SET_CHILD_SUBREAPER, 0)
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                return
        except ChildProcessError:
            return


@pytest.fixture
def box(lcpy: "Lcpy", busybox_root: Path, tmp_path: Path) -> Box:
    """Run BusyBox in a container."""
    return Box(lcpy, busybox_root, tmp_path)
