"""The lcpy command: words in, one library call, text out."""


def main(arguments: "list[str]") -> int:
    """Run the command and return its exit code; errors are said on standard error, in one line."""
    from libcontainer_py.cli.main import main as run

    return run(arguments)
