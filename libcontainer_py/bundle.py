"""What a command imports, in one file: for `lcpy`, whose imports are a third of its life.

The rooms of this package are small, and a command walks through sixty of them. Python looks for
each, opens it, reads it, and builds a spec and a lock for it, which takes longer than running its
body. So the first `lcpy run` records the modules of this package that it imported, compiled and in
the order of their completion, and later ones take them all from that record at once.

The record lies in `__pycache__` and is a cache like what else lies there: written only where the
directory may be written to, believed only for sources of the same time and size, and free to be
removed at any time. Then, and in the library, imports are Python's own.
"""

import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    # Name, path below the package, the source's time (ns) and size, the code.
    _Entry = tuple[str, str, int, int, CodeType]

_PACKAGE = __name__.rpartition(".")[0]
_DIRECTORY = __file__.rpartition("/")[0]
_CACHE = f"{_DIRECTORY}/__pycache__"
# What some runs of a command need and most don't: a filter is compiled once for each profile.
_NOT_RECORDED = (
    f"{_PACKAGE}.cgroups.block_io",
    f"{_PACKAGE}.cgroups.disabled",
    f"{_PACKAGE}.cgroups.freezer_v1",
    f"{_PACKAGE}.cgroups.hugetlb",
    f"{_PACKAGE}.cgroups.net_v1",
    f"{_PACKAGE}.cgroups.rdma",
    f"{_PACKAGE}.cli.terminal",
    f"{_PACKAGE}.mount.console",
    f"{_PACKAGE}.namespaces.console",
    f"{_PACKAGE}.namespaces.helper",
    f"{_PACKAGE}.namespaces.joiner",
    f"{_PACKAGE}.namespaces.joins",
    f"{_PACKAGE}.namespaces.launcher",
    f"{_PACKAGE}.namespaces.listener",
    f"{_PACKAGE}.namespaces.maps",
    f"{_PACKAGE}.namespaces.procfs",
    f"{_PACKAGE}.namespaces.sources",
    f"{_PACKAGE}.network.netdevices",
    f"{_PACKAGE}.network.rtnetlink",
    f"{_PACKAGE}.security.scheduling",
    f"{_PACKAGE}.security.seccomp_enosys",
    f"{_PACKAGE}.security.seccomp_library",
    f"{_PACKAGE}.security.seccomp_profile",
)
_Spec: "type[ModuleSpec]" = type(__spec__)


class _Recorder:
    """Imports the package's modules from their sources, and notes each when it is complete."""

    __slots__ = ("entries", "file", "left_out")

    def __init__(self, file: str, left_out: "tuple[str, ...]") -> None:
        self.file = file
        self.left_out = left_out
        self.entries: list[_Entry] = []

    def find_spec(
        self, name: str, path: "list[str] | None", _target: object = None
    ) -> "ModuleSpec | None":
        if not path or not name.startswith(f"{_PACKAGE}."):
            return None
        if name.startswith(self.left_out):
            return None
        stem = f"{path[0]}/{name.rpartition('.')[2]}"
        for origin in (f"{stem}.py", f"{stem}/__init__.py"):
            try:
                posix.stat(origin)
            except OSError:
                continue
            spec = _Spec(name, self, origin=origin)  # type: ignore[arg-type]
            spec.has_location = True
            if origin.endswith("/__init__.py"):
                spec.submodule_search_locations = [stem]
            return spec
        return None

    def create_module(self, _spec: "ModuleSpec") -> None:
        return None

    def exec_module(self, module: "ModuleType") -> None:
        entry = _entry(module.__name__, str(module.__file__))
        exec(entry[4], module.__dict__)
        self.entries.append(entry)

    def write(self) -> None:
        # What was imported before it could be recorded comes first.
        first = [_entry(_PACKAGE, f"{_DIRECTORY}/__init__.py"), _entry(__name__, __file__)]
        temporary = f"{self.file}.{posix.getpid()}"
        fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL, 0o644)
        try:
            posix.write(fd, marshal.dumps((replay.__code__, first + self.entries)))
        finally:
            posix.close(fd)
        posix.rename(temporary, self.file)


def _entry(name: str, path: str) -> "_Entry":
    status = posix.stat(path)
    with open(path, "rb") as file:
        code: CodeType = compile(file.read(), path, "exec", dont_inherit=True, optimize=2)
    below = path.removeprefix(f"{_DIRECTORY}/")
    return name, below, status.st_mtime_ns, status.st_size, code


def record(command: str) -> None:
    """Begin a record of what this command imports, where one may be written."""
    if posix.access(_CACHE, posix.W_OK):
        file = f"{_CACHE}/{command}.bundle.{sys.implementation.cache_tag}"
        # `kill` comes to the cgroups only where it is to kill all that is in them.
        left_out = (*_NOT_RECORDED, f"{_PACKAGE}.cgroups") if command == "kill" else _NOT_RECORDED
        sys.meta_path.insert(0, _Recorder(file, left_out))  # type: ignore[arg-type]


def finish(code: int) -> None:
    """Write the record that `record` began, if it did. Nothing that fails here matters.

    Help, and a command that failed (`code` is not 0), imported too little, or what only words an
    error: they leave it to the next one.
    """
    first = sys.meta_path[0]
    if isinstance(first, _Recorder) and code == 0 and f"{_PACKAGE}.container" in sys.modules:
        try:
            first.write()
        except OSError:
            return


def replay(directory: str, entries: "list[_Entry]") -> bool:
    """Make the modules of a record, where it is still true of the sources below `directory`.

    `bin/lcpy` runs this from the record itself, before there is a module: it may use nothing of
    this one's but `posix` and `sys`.
    """
    for _name, path, time, size, _code in entries:
        status = posix.stat(f"{directory}/{path}")
        if status.st_mtime_ns != time or status.st_size != size:
            return False
    modules = sys.modules
    for name, path, _time, _size, code in entries:
        module = modules[name] = type(sys)(name)
        module.__file__ = origin = f"{directory}/{path}"
        parent, dot, last = name.rpartition(".")
        module.__package__ = parent
        if origin.endswith("/__init__.py"):
            module.__package__ = name
            module.__path__ = [origin.removesuffix("/__init__.py")]
        exec(code, module.__dict__)
        if dot:
            setattr(modules[parent], last, module)
    return True
