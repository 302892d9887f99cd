"""`lcpy list`: the containers as a table, as JSON, or by their ids alone, as runc prints them."""

import posix

from libcontainer_py import jsontext
from libcontainer_py.errors import Error, NotFound, shown, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.container import Runtime

_HEAD = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
_MIN_WIDTH = 12
_PADDING = 3


def states(runtime: "Runtime") -> "tuple[list[dict[str, Any]], list[str]]":
    """The states of all containers with their owners, and a line for each that can't be read."""
    found, complaints = [], []
    for container in runtime.list():
        try:
            owner = _owner(f"{runtime.root}/{container.id}")
            found.append(container.state() | {"owner": owner})
        except FileNotFoundError:
            continue  # deleted meanwhile
        except NotFound:
            complaints.append(
                f"{container.id} has no record: it is being created or deleted, or was left"
                f" half-made; `lcpy delete --force {container.id}` removes what is left"
            )
        except Error as error:
            complaints.append(f"{container.id}: {error}")
    return found, complaints


def check_root(root: str) -> None:
    """Refuse a root directory that was asked for and is not there, as runc does.

    Raises:
        Error: with the directory
    """
    try:
        posix.listdir(root)
    except OSError as error:
        raise Error(f"--root: open {shown(root)}: {words(error.errno or 0)}") from None


def table(found: "list[dict[str, Any]]") -> str:
    """Columns as wide as their widest cell and three blanks, and at least twelve."""
    rows = [_HEAD] + [tuple(shown(str(state[key.lower()])) for key in _HEAD) for state in found]
    widths = [
        max(_MIN_WIDTH, max(len(row[column]) for row in rows) + _PADDING)
        for column in range(len(_HEAD) - 1)
    ]
    widths.append(0)  # the last cell is followed by nothing
    lines = [
        "".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows
    ]
    return "\n".join(lines) + "\n"


def json(found: "list[dict[str, Any]]") -> str:
    """One line of JSON; none at all are `null`, because runc's list is a nil slice then."""
    return (jsontext.dumps(found) if found else "null") + "\n"


def ids(found: "list[dict[str, Any]]") -> str:
    """The ids, a line each."""
    return "".join(f"{state['id']}\n" for state in found)


def _owner(directory: str) -> str:
    """The user whom a state directory belongs to: by name, or `#` and the number."""
    import pwd

    uid = posix.stat(directory).st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
