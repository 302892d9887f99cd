"""spec/built.py: what is valid, and refused because it is not built yet."""

from typing import Any

import pytest

from libcontainer_py.errors import ConfigError
from libcontainer_py.spec import built
from libcontainer_py.spec.accept import accept
from tests.unit.spec.samples import put, rich, runnable


@pytest.mark.parametrize("field", built.FIELDS)
def test_each_field_of_the_table_is_a_real_one_and_refused(field: str) -> None:
    # The config that has everything has it; in a misspelled line there would be nothing.
    place = field.replace("[]", ".1")
    value: Any = rich()
    for name in place.split("."):
        value = value[int(name) if name.isdigit() else name]
    config = runnable()
    put(config, place, value)
    assert accept(config)
    with pytest.raises(ConfigError, match=r"is not built yet$") as caught:
        built.check(config)
    assert caught.value.field == field.replace("[]", "[1]")


def test_what_is_built_or_asks_for_nothing_passes() -> None:
    config = runnable()
    changes: dict[str, Any] = {
        "hooks": {"prestart": [], "poststop": []},
        "process.consoleSize": {"height": 25, "width": 80},
        "process.apparmorProfile": "",
        "process.oomScoreAdj": 5,
        "linux.uidMappings": [],
        "linux.netDevices": {},
        "linux.mountLabel": "",
        "linux.personality": {"domain": "LINUX32"},
        "linux.sysctl": {"net.ipv4.ip_forward": "1"},
        "linux.rootfsPropagation": "rslave",
        "linux.namespaces.5": {"type": "cgroup", "path": ""},
        "linux.resources.blockIO": {"weight": 0},
        "linux.resources.network": {},
        "linux.resources.unified": {},
        "linux.resources.hugepageLimits": [],
        "linux.resources.memory": {"limit": 1 << 30},
        "linux.resources.cpu": {"cpus": "0", "shares": 512},
        "linux.resources.pids": {"limit": 10},
        "windows": {"layerFolders": ["C:"]},
    }
    for field, value in changes.items():
        put(config, field, value)
    assert accept(config)
    built.check(config)
    built.check({"ociVersion": "1.0.0"})
