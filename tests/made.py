"""The library writes down what it has made: for `tests.fields`.

Imported by each command of the tests, so it may cost next to nothing.
"""

import os

from libcontainer_py import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# The name of a file that gets a line for each container and each second process: its config.
VARIABLE = "LCPY_TEST_FIELDS"


def watch() -> None:
    """From now on each container that this process makes is written down."""
    from libcontainer_py.namespaces import exec as birth
    from libcontainer_py.namespaces import execin, launcher

    birth.exec_ = _watched(birth.exec_, _of_bundle)
    execin.exec_in = _watched(execin.exec_in, _of_process)
    launcher.launch = _watched(launcher.launch, _of_bundle)
    launcher.launch_in = _watched(launcher.launch_in, _of_process)


def _watched(function: "Callable[..., Any]", config_of: "Callable[[Any], Any]") -> "Any":
    def watching(root: str, container_id: str, what: "Any", options: "Any") -> "Any":
        made = function(root, container_id, what, options)
        try:
            line = jsontext.dumps(config_of(what)).encode("utf-8", "surrogatepass") + b"\n"
            fd = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.write(fd, line)
            os.close(fd)
        except (OSError, KeyError, ValueError):
            pass  # the file does not belong to root of a user namespace, who is not to fail by that
        return made

    return watching


def _of_bundle(bundle: str) -> "Any":
    with open(f"{bundle}/config.json", encoding="utf-8", errors="surrogateescape") as file:
        return jsontext.loads(file.read())


def _of_process(process: "Any") -> "Any":
    return {"process": process}
