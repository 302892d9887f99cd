"""Two hundred containers, one after the other, leave the machine as it was."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.attacks.conftest import Bare
from tests.conftest import PREFIX, Bundle, Lcpy

CYCLES = 200
SIDE_BY_SIDE = 2


def machine() -> dict[str, object]:
    """What a leak would add to (processes are looked at by the fixture of `lcpy`)."""
    return {
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "run": sorted(os.listdir("/run")),
        "keys": sum(PREFIX in line for line in Path("/proc/keys").read_text().splitlines()),
        "tmp": sorted(name for name in os.listdir("/tmp") if "lcpy" in name.lower()),
        "network namespaces": len(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else 0,
    }


def cycle(bare: Bare, made: Path, container: str) -> None:
    bare("create", "--bundle", made, container, check=True)
    bare("start", container, check=True)
    bare("kill", container, "KILL", check=True)
    bare.wait_for(container, "stopped")
    bare("delete", container, check=True)


def test_two_hundred_cycles(lcpy: Lcpy, bundle: Bundle) -> None:
    bare = Bare(lcpy.root)
    made = bundle("sleep", "60")
    cycle(bare, made, bare.new_id())
    before = machine()
    state = sorted(os.listdir(bare.root))
    names = [bare.new_id() for _ in range(CYCLES)]

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for done in [pool.submit(cycle, bare, made, name) for name in names]:
            done.result()

    assert machine() == before
    assert sorted(os.listdir(bare.root)) == state == []
    left = {name for _, found, _ in os.walk("/sys/fs/cgroup") for name in found}
    assert not left & set(names)
