"""Write docs/fields.md: each field of config.json, and how many tests have made containers with it.

From build/fields.json, which the tests write (tests/fields.py): run them all before, also in the
virtual machines.
"""

import json
import sys
from collections import Counter
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

from docs.fields import IDLE  # noqa: E402
from tests.fields import RECORD, fields  # noqa: E402

PLACES = {
    "hybrid": ("here",),
    "Debian 12": ("bookworm", "bookworm-user"),
    "Debian 13": ("trixie",),
}
HEAD = """# The fields of config.json, and the tests that made containers with them

For each field of the specification: how many tests that passed made a container (or a second
process) which asks for something else there than `lcpy spec` does, on each
[kind of host](hosts.md); and one of them. A test counts once, however many containers it makes; not
counted are engines, containers of users who are not root, and what is refused. Written by
`docs/proven.py`.

"""


def page() -> str:
    record: dict[str, dict[str, list[str]]] = json.loads(RECORD.read_text())
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in PLACES}
    example: dict[str, str] = {}
    for kind, places in PLACES.items():
        for place in places:
            for test, found in record.get(place, {}).items():
                counts[kind].update(found)
                for field in found:
                    # The one that has least beside it is most likely to be about it.
                    best = example.get(field)
                    if best is None or len(found) < len(record["here"].get(best, found)):
                        example[field] = test
    rows = [f"| field | {' | '.join(PLACES)} | for example |", "| --- |" + " --- |" * 4]
    for field in fields():
        if field not in IDLE:
            numbers = " | ".join(str(counts[kind][field] or "-") for kind in PLACES)
            test = example.get(field, "").partition("[")[0]
            rows.append(f"| `{field}` | {numbers} | {f'`{test}`' if test else '**none**'} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    (TOP / "docs" / "fields.md").write_text(page())
