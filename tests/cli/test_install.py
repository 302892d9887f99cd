"""The command as pip installs it: isolated whatever the way of installing, and the world around."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Lcpy

# Takes the place of libcontainer_py.cli.main in an installed copy: bin/lcpy, the interpreter and
# its flags are the real ones, and this says what they are.
REPORT = """
import sys

def main(argv):
    names = [name for name in dir(sys.flags) if name[0] != "_" and name not in ("count", "index")]
    flags = {name: int(getattr(sys.flags, name)) for name in names}
    import libcontainer_py
    report = {
        "flags": flags,
        "argv": argv,
        "path": sys.path,
        "modules": sorted(sys.modules),
        "executable": sys.executable,
        "package": libcontainer_py.__file__,
    }
    print(report, flush=True)
    return 7
"""

# Each says that it was read, where it must not be.
TRAP = 'import sys\nsys.stderr.write("trap\\n")\nraise SystemExit(66)\n'


def build(source: Path, hook: str) -> Path:
    """Build a wheel of `source` as pip does, by the build backend's hook, without the network."""
    code = (
        "import sys, setuptools.build_meta as backend;"
        "print('wheel:', getattr(backend, sys.argv[1])(sys.argv[2]))"
    )
    argv = [sys.executable, "-c", code, hook, str(source)]
    done = subprocess.run(argv, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return source / done.stdout.split()[-1]


def environment(path: Path, wheel: Path) -> Path:
    """Make a virtual environment with the wheel alone in it."""
    base = os.path.realpath(sys.executable)
    subprocess.run([base, "-m", "venv", "--without-pip", str(path)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(path / "bin/python"), "install", "-q"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True)
    return path / "bin/lcpy"


def packages(command: Path) -> Path:
    """The site-packages of the environment that holds the command."""
    (found,) = command.parent.parent.glob("lib/python*/site-packages")
    return found


Install = Callable[[Path], Path]


def from_wheel(source: Path) -> Path:
    return environment(source.parent / "with space", build(source, "build_wheel"))


def from_editable(source: Path) -> Path:
    return environment(source.parent / "editable", build(source, "build_editable"))


def linked(install: Install) -> Install:
    """Put a chain of symlinks, one of them relative, in front of an installed command."""

    def install_and_link(source: Path) -> Path:
        command = install(source)
        links = source.parent / "links"
        (links / "deep").mkdir(parents=True)
        (links / "deep/second").symlink_to(command)
        (links / "lcpy").symlink_to("deep/second")
        return links / "lcpy"

    return install_and_link


WAYS = {
    "wheel": from_wheel,
    "editable": from_editable,
    "link to wheel": linked(from_wheel),
    "link to editable": linked(from_editable),
}


def stubbed(source: Path) -> Path:
    """Put the report in the place of the cli's main."""
    (source / "cli/main.py").write_text(REPORT)
    return source


@pytest.fixture(params=WAYS)
def command(request: pytest.FixtureRequest, checkout_copy: Path) -> Path:
    """An installed command whose cli reports on its interpreter."""
    return WAYS[request.param](stubbed(checkout_copy))


def report(command: Path | str, *words: str, **options: Any) -> dict[str, Any]:
    done = subprocess.run(
        [str(command), *words], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 7, done.stderr
    assert done.stderr == ""
    result: dict[str, Any] = ast.literal_eval(done.stdout)
    return result


def test_it_is_isolated_wherever_it_is_started(command: Path, tmp_path: Path) -> None:
    """No PYTHON* variable, no current directory and no user site reaches the interpreter."""
    hostile = tmp_path / "hostile"
    home = hostile / "home"
    user_site = home / f".local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    user_site.mkdir(parents=True)
    (hostile / "libcontainer_py").mkdir()
    for trap in ("libcontainer_py/__init__.py", "os.py", "posix.py", "startup.py"):
        (hostile / trap).write_text(TRAP)
    for trap in ("usercustomize.py", "sitecustomize.py"):
        (hostile / trap).write_text(TRAP)
        (user_site / trap).write_text(TRAP)
    (user_site / "trap.pth").write_text("import sys; sys.exit(66)\n")
    variables = {
        "PYTHONPATH": str(hostile),
        "PYTHONHOME": str(hostile),
        "PYTHONSTARTUP": str(hostile / "startup.py"),
        "PYTHONUTF8": "0",
        "PYTHONINSPECT": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONDEVMODE": "1",
        "HOME": str(home),
    }

    quiet = report(command, "word", "two words", cwd="/")
    loud = report(
        command, "word", "two words", cwd=hostile, env=variables, stdin=subprocess.DEVNULL
    )

    assert loud == quiet
    flags = {name: value for name, value in quiet["flags"].items() if value}
    assert flags.pop("int_max_str_digits") in (-1, sys.int_info.default_max_str_digits)
    flags = {name: value for name, value in flags.items() if not name.startswith("n_")}
    assert flags == {
        "hash_randomization": 1,
        "ignore_environment": 1,
        "isolated": 1,
        "no_site": 1,
        "no_user_site": 1,
        "safe_path": 1,
        "utf8_mode": 1,
    }
    assert quiet["argv"] == ["word", "two words"]
    assert "site" not in quiet["modules"]
    assert not [path for path in quiet["path"] if not os.path.isabs(path)]


def test_it_runs_the_python_and_the_package_of_its_environment(command: Path) -> None:
    """Not those of the PATH, the machine or the place of a link."""
    installed = command.resolve()
    said = report(command, env={"PATH": os.defpath}, cwd="/")

    assert Path(said["executable"]) == installed.parent / "python3"
    package = Path(said["package"]).resolve()
    if list(packages(installed).glob("*.pth")):
        assert package.parent.name == "libcontainer_py"
        assert package.parent.parent.name == "checkout"
        assert package.is_relative_to(installed.parent.parent.parent)
    else:
        assert package.is_relative_to(packages(installed).resolve())
    # Dependencies lie in the environment's site-packages, editable or not.
    assert packages(installed).resolve() in [Path(path).resolve() for path in said["path"]]


def test_it_is_found_by_a_relative_name_too(command: Path) -> None:
    """With a slash, as execve takes it, and without, as ``sh lcpy`` gives it."""
    said = report(f"./{command.name}", cwd=command.parent)
    assert os.path.samefile(said["package"], report(command)["package"])
    if not command.is_symlink():
        done = subprocess.run(
            ["sh", command.name], cwd=command.parent, capture_output=True, text=True, check=False
        )
        assert done.returncode == 7, done.stderr


def test_the_installer_leaves_the_script_as_it_is(checkout_copy: Path) -> None:
    """An installer that rewrote the first line would start another Python, without the flags."""
    installed = from_wheel(checkout_copy)
    assert installed.read_bytes() == (checkout_copy / "bin/lcpy").read_bytes()
    assert os.access(installed, os.X_OK)


def test_the_wheel_holds_the_package_and_its_data_alone(checkout_copy: Path) -> None:
    """The rooms behind the links are in it, under the package's name, once."""
    installed = from_wheel(checkout_copy)
    site = packages(installed)
    assert {path.name for path in site.iterdir() if path.suffix != ".dist-info"} == {
        "libcontainer_py"
    }
    for room, link in (("cli", "libcontainer_py/cli"), ("spec", "libcontainer_py/spec")):
        ours = modules(checkout_copy / room)
        assert ours == modules(site / link)
        assert ours
    assert (site / "libcontainer_py/py.typed").is_file()
    schemas = {path.name for path in (checkout_copy / "spec/schema").glob("*.json")}
    assert schemas == {path.name for path in (site / "libcontainer_py/spec/schema").iterdir()}


def modules(directory: Path) -> set[str]:
    """The modules of a package, by their paths in it."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*.py")}


def test_the_fast_path_starts_one_process_once(checkout_copy: Path, tmp_path: Path) -> None:
    """The shell part becomes the Python: no fork, two execs."""
    command = from_wheel(stubbed(checkout_copy))
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-qq", "-e", "trace=execve,fork,vfork,clone,clone3", "-o", str(trace)]
    subprocess.run([*strace, str(command)], stdout=subprocess.DEVNULL, check=False)
    calls = [line.split()[1].partition("(")[0] for line in trace.read_text().splitlines()]
    assert [call for call in calls if call != "+++"] == ["execve", "execve"]


def test_the_real_command_works_when_installed(
    checkout_copy: Path, tmp_path: Path, lcpy: "Lcpy"
) -> None:
    """From a wheel, without its dependencies: they are for those who ask for more."""
    command = from_wheel(checkout_copy)
    ours, guarded = tmp_path / "ours", tmp_path / "guarded"
    ours.mkdir()
    guarded.mkdir()
    subprocess.run([str(command), "spec", "--bundle", str(ours)], check=True)
    lcpy("spec", "--bundle", guarded, check=True)
    assert (ours / "config.json").read_bytes() == (guarded / "config.json").read_bytes()


def test_it_is_found_where_debian_s_pip_installs(checkout_copy: Path) -> None:
    """In dist-packages, as for `pip install` without an environment on Debian."""
    command = from_wheel(stubbed(checkout_copy))
    site = packages(command)
    there = site.rename(site.with_name("dist-packages"))
    assert Path(report(command)["package"]).resolve().is_relative_to(there)


def test_an_install_without_its_package_says_so(checkout_copy: Path) -> None:
    """In a line, not in a traceback."""
    command = from_wheel(checkout_copy)
    shutil.rmtree(packages(command))
    done = subprocess.run([str(command)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("lcpy: there is no libcontainer_py in ")
    assert done.stderr.count("\n") == 1


def test_output_that_nobody_can_take_is_an_error(checkout_copy: Path) -> None:
    """A full device is not success, and no traceback either."""
    argv = [str(from_wheel(checkout_copy)), "--version"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "no space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_standard_stream_does_not_stop_it(checkout_copy: Path, closed: int) -> None:
    """Daemons start programs so."""
    source = stubbed(checkout_copy)
    (source / "cli/main.py").write_text("def main(argv):\n    return 7\n")
    argv = ["sh", "-c", f'exec "$0" {closed}>&-', str(from_wheel(source))]
    assert subprocess.run(argv, check=False).returncode == 7
