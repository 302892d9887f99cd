"""What the tests of the command share."""

import os
from collections.abc import Iterator

import pytest

from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import PR_SET_CHILD_SUBREAPER


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
