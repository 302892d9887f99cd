"""Reading config.json from a bundle, whatever lies there under that name."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.errors import ConfigError
from libcontainer_py.spec.load import SIZE_MAX, load
from tests.unit.spec.samples import runnable


def write(bundle: Path, text: str | bytes) -> str:
    """Make a bundle with that config.json."""
    content = text if isinstance(text, bytes) else text.encode()
    (bundle / "config.json").write_bytes(content)
    return str(bundle)


def refusal(bundle: str | Path) -> ConfigError:
    start = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load(str(bundle))
    assert time.monotonic() - start < 5
    assert str(caught.value).isprintable()
    return caught.value


def test_a_good_bundle_gives_its_config_and_warnings(tmp_path: Path) -> None:
    config = runnable()
    assert load(write(tmp_path, json.dumps(config))) == (config, [])
    config["process"]["capabilities"]["bounding"].append("CAP_FUTURE")
    loaded, warnings = load(write(tmp_path, json.dumps(config)))
    assert loaded == config
    assert warnings == ['process.capabilities: ignoring unknown capabilities: "CAP_FUTURE"']


def test_a_link_to_config_json_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text(json.dumps(runnable()))
    (tmp_path / "config.json").symlink_to("real")
    assert load(str(tmp_path))[0] == runnable()


def test_a_missing_file_is_said_in_runcs_words(tmp_path: Path) -> None:
    assert str(refusal(tmp_path)) == "JSON specification file config.json not found"


def test_a_missing_bundle_is_said_to_be_one(tmp_path: Path) -> None:
    assert str(refusal(tmp_path / "no")).endswith('no": no such file or directory')
    (tmp_path / "file").touch()
    assert str(refusal(tmp_path / "file")).endswith('file": not a directory')


def test_what_is_no_regular_file_is_refused_without_a_hang(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    expected = "config.json is not a regular file"
    os.mkfifo(path)
    assert str(refusal(tmp_path)) == expected
    path.unlink()
    path.mkdir()
    assert str(refusal(tmp_path)) == expected
    path.rmdir()
    path.symlink_to("/dev/zero")
    assert str(refusal(tmp_path)) == expected
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert str(refusal(tmp_path)) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a device")
def test_a_device_that_nobody_drives_is_refused(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "config.json", stat.S_IFBLK | 0o600, os.makedev(240, 99))
    except PermissionError:
        pytest.skip("this root may not make devices")
    assert str(refusal(tmp_path)) == "config.json is not a regular file"


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("config.json")
    assert str(refusal(tmp_path)) == "open config.json: too many levels of symbolic links"


def test_the_size_is_bounded_and_a_large_config_is_not_refused_for_less(tmp_path: Path) -> None:
    config = {**runnable(), "unknown": ""}
    config["unknown"] = "x" * (SIZE_MAX - len(json.dumps(config)))
    padded = json.dumps(config)
    assert load(write(tmp_path, padded))[0] == config
    assert str(refusal(write(tmp_path, padded + " "))) == "config.json is larger than 16 MiB"
    os.truncate(tmp_path / "config.json", 1 << 40)
    assert str(refusal(tmp_path)) == "config.json is larger than 16 MiB"


def test_ten_thousand_mounts_are_taken(tmp_path: Path) -> None:
    config = runnable()
    config["mounts"] *= 1500
    start = time.monotonic()
    assert len(load(write(tmp_path, json.dumps(config)))[0]["mounts"]) == 10500
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{]",
        "{",
        '{"ociVersion": "1.0.0"',
        '{"ociVersion": NaN}',
        '{"ociVersion": Infinity}',
        '{"ociVersion": "1.0.0",}',
        '{"ociVersion": "1.0.0"} {',
        "\ufeff{}",
        '{"a": "\n"}',
        '{"a": ' + "1" * 5000 + "}",
        "{'a': 1}",
        '{"ociVersion": tru',
    ],
)
def test_what_is_not_json_is_refused_with_a_reason(tmp_path: Path, text: str) -> None:
    error = refusal(write(tmp_path, text))
    assert str(error).startswith("config.json is not JSON: ")
    assert error.field is None


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [10_000, 1_000_000])
def test_deep_nesting_is_refused(tmp_path: Path, opening: str, depth: int) -> None:
    error = refusal(write(tmp_path, opening * depth))
    assert str(error) == "config.json is not JSON: it is nested too deeply"


def test_nesting_below_the_parsers_limit_breaks_nothing_behind_it(tmp_path: Path) -> None:
    config = runnable()
    text = json.dumps(config)[:-1] + ', "x": ' + "[" * 500 + 'null, "\\ud83d\\ude00"' + "]" * 500
    assert load(write(tmp_path, text + "}"))[0]["linux"] == config["linux"]


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    text = json.dumps(runnable()).encode().replace(b'"sh"', b'"s\xff"')
    assert str(refusal(write(tmp_path, text))).startswith("config.json is not UTF-8, at byte ")


def test_half_a_surrogate_pair_is_refused_and_a_whole_one_is_a_character(tmp_path: Path) -> None:
    config = runnable()
    config["process"]["args"] = ["\N{GRINNING FACE}"]
    text = json.dumps(config)
    assert "\\ud83d\\ude00" in text
    assert load(write(tmp_path, text))[0] == config
    for half in ("\\ud83d", "\\uDE00"):
        error = refusal(write(tmp_path, text.replace("\\ud83d\\ude00", half)))
        assert "half a character" in str(error)
    assert "half" in str(refusal(write(tmp_path, text[:-1] + ', "\\uDCFF": 1}')))


def test_null_for_a_member_is_as_if_it_were_absent(tmp_path: Path) -> None:
    config = runnable()
    nulls: dict[str, Any] = {**config, "hooks": None, "annotations": {"a": None}}
    nulls["process"] = {**config["process"], "oomScoreAdj": None}
    nulls["linux"] = {**config["linux"], "seccomp": None, "cgroupsPath": None}
    assert load(write(tmp_path, json.dumps(nulls)))[0] == {**config, "annotations": {}}


def test_null_is_no_config_and_no_item_of_a_list(tmp_path: Path) -> None:
    assert str(refusal(write(tmp_path, "null"))) == "config cannot be null"
    config = runnable()
    config["process"]["args"] = ["sh", None]
    assert refusal(write(tmp_path, json.dumps(config))).field == "process.args[1]"


@pytest.mark.parametrize("text", ["[]", '"x"', "1", "true"])
def test_json_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    assert str(refusal(write(tmp_path, text))).endswith("is not an object")


def test_of_a_name_that_comes_twice_the_last_counts(tmp_path: Path) -> None:
    text = json.dumps(runnable())
    twice = text.replace('"hostname": "runc"', '"hostname": "first", "hostname": "runc"')
    assert twice != text
    assert load(write(tmp_path, twice))[0] == runnable()


def test_without_jsonschema_a_wrong_config_is_still_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "libcontainer_py.spec.reject", raising=False)
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    assert "does not fit its schema" in str(refusal(write(tmp_path, "{}")))


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    load(write(tmp_path, json.dumps(runnable())))
    refusal(write(tmp_path, "{"))
    refusal(write(tmp_path, " " * (SIZE_MAX + 1)))
    assert os.listdir("/proc/self/fd") == before


HEAVY = (
    "abc argparse attr attrs collections contextlib ctypes dataclasses enum functools json "
    "jsonschema logging pathlib re shutil signal socket subprocess tempfile threading typing"
)


def test_a_valid_config_is_loaded_without_heavy_imports(tmp_path: Path) -> None:
    bundle = write(tmp_path, json.dumps(runnable()))
    root = Path(__file__).parents[3]
    code = f"""
import sys
before = set(sys.modules)
sys.path.insert(0, {str(root)!r})
from libcontainer_py.spec.load import load
load({bundle!r})
print(*sorted(set(sys.modules) - before))
"""
    flags = ["-I", "-S", "-B", "-c", code]
    out = subprocess.run([sys.executable, *flags], check=True, capture_output=True, text=True)
    imported = set(out.stdout.split())
    assert "libcontainer_py.spec.accept" in imported
    # `os` brings its own abc with it.
    assert imported & set(HEAVY.split()) <= {"abc"}
