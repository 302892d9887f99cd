"""`lcpy ps`: the container's processes as the host's ps(1) describes them, or their ids."""

import _signal
import posix

from libcontainer_py import jsontext
from libcontainer_py.errors import Error, quoted, shown, words

_DEFAULT = ("-ef",)
_COLUMN = "PID"


def json(pids: "list[int]") -> str:
    """One line of JSON; none at all are `null`, because runc's list is a nil slice then."""
    return (jsontext.dumps(pids) if pids else "null") + "\n"


def table(pids: "list[int]", options: "list[str]") -> str:
    """What ps(1) prints with these options, without the lines about other processes.

    Raises:
        Error: it is not there, it failed, or it prints no column PID
    """
    head, *lines = _ps(options or _DEFAULT).split("\n")
    try:
        column = head.split().index(_COLUMN)
    except ValueError:
        raise Error("couldn't find PID field in ps output") from None
    wanted = set(pids)
    text = head + "\n"
    for line in lines:
        if line and _number(line, column) in wanted:
            text += line + "\n"
    return text


def _number(line: str, column: int) -> int:
    fields = line.split()
    word = fields[column] if column < len(fields) else ""
    if not (word.isascii() and word.isdigit()):
        # Most likely a column before it has blanks in it.
        raise Error(f"unable to parse pid: {quoted(word)} in the ps output {quoted(line)}")
    return int(word)


def _ps(options: "list[str] | tuple[str, ...]") -> str:
    """Run ps(1), and return what it says."""
    read, write = posix.pipe()
    try:
        pid = posix.posix_spawnp(
            "ps",
            ["ps", *options],
            posix.environ,
            file_actions=[
                (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0),
                (posix.POSIX_SPAWN_DUP2, write, 1),
                (posix.POSIX_SPAWN_DUP2, write, 2),
            ],
            setsigdef=(_signal.SIGPIPE, _signal.SIGXFSZ),  # which Python ignores
        )
    except FileNotFoundError:
        posix.close(read)
        raise Error('exec: "ps": executable file not found in $PATH') from None
    except OSError as error:
        posix.close(read)
        raise Error(f'exec: "ps": {words(error.errno or 0)}') from None
    finally:
        posix.close(write)
    with open(read, encoding="utf-8", errors="surrogateescape") as file:
        said = file.read()
    _pid, status = posix.waitpid(pid, 0)
    code = posix.waitstatus_to_exitcode(status)
    if code:
        first = said.strip().partition("\n")[0]
        how = f"exit status {code}" if code > 0 else f"signal: {-code}"
        raise Error(f"ps: {how}: {shown(first)}")
    return said
