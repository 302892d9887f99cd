"""Write completions/ and man/, both made from the command's table.

python docs/generate.py            writes them
python docs/generate.py --check    exits with 1 where they say otherwise
"""

import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

import completion  # noqa: E402
import manual  # noqa: E402

from libcontainer_py.cli.table import COMMANDS  # noqa: E402


def files() -> "dict[str, str]":
    """What is made: path below the checkout -> text."""
    return {
        "completions/lcpy.bash": completion.bash(),
        "completions/_lcpy": completion.zsh(),
        "completions/lcpy.fish": completion.fish(),
        "man/lcpy.1": manual.overview(),
        **{f"man/lcpy-{name}.1": manual.page(command) for name, command in COMMANDS.items()},
    }


def main() -> int:
    """Write the files, or compare them; return the exit code."""
    made = files()
    there = {
        str(path.relative_to(TOP)): path.read_text()
        for directory in ("completions", "man")
        for path in (TOP / directory).glob("*")
    }
    if "--check" in sys.argv[1:]:
        stale = sorted(name for name in made | there if made.get(name) != there.get(name))
        for name in stale:
            print(f"{name} is stale: run docs/generate.py", file=sys.stderr)
        return int(bool(stale))
    for name in there.keys() - made.keys():
        (TOP / name).unlink()
    for name, text in made.items():
        (TOP / name).parent.mkdir(exist_ok=True)
        (TOP / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
