"""Which commit this is."""

import os


def commit() -> str:
    """The commit of the checkout that this runs from; `unknown` where it is installed otherwise."""
    top = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    try:
        with open(os.path.join(top, ".git", "HEAD")) as file:
            head = file.read().strip()
        if head.startswith("ref: "):
            with open(os.path.join(top, ".git", head[5:])) as file:
                head = file.read().strip()
    except OSError:
        return "unknown"
    return head
