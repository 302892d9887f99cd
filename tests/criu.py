"""Whether criu can be tried here."""

import functools
import shutil
import subprocess


@functools.cache
def broken() -> str:
    """Why it can't be, as a reason to skip; "" where it can."""
    if shutil.which("criu") is None:
        return "criu is not installed"
    done = subprocess.run(["criu", "check"], capture_output=True, check=False, timeout=60)
    return "criu does not work on this kernel" if done.returncode else ""
