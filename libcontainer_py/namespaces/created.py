"""What `exec_` and `exec_in` give back."""


class Created:
    """A process that was made: a container's first, which waits for `start`, or a second one.

    Attributes:
        pid, pidfd: the process
        warnings: what was odd, to pass on
        master: of its terminal, where it has one and that was not sent to a console socket; or -1
    """

    __slots__ = ("master", "pid", "pidfd", "warnings")

    def __init__(self, pid: int, pidfd: int, warnings: "list[str]", master: int) -> None:
        self.pid, self.pidfd, self.warnings, self.master = pid, pidfd, warnings, master
