"""The ops listener's address without a YAML parser: either what the full reading finds, or no answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import InvalidConfiguration
from service.settings.locations import NotPlain, OpsAddress, plain_options, quick_address
from service.settings.settings import OpsSettings
from service.settings.sources import load

ROOT = Path(__file__).parents[3]
# Pieces of lines that could hide the end of a line, the start of a section, or each other.
PIECES = ["ops:", "log:", "ops: ", "  ", " ", "port: 1", "port: 2", "host: localhost", "x: ", "- ", '"', "'", "[", "]", "{", "}", ",", ", ", ": ", ":", "#"]
PIECES += [" #", "|", ">-", "&a", "*a", "<<: ", "? ", "---", "...", "a", "x 'y", "\\", "\t", "\r", "\x85", "!!str ", "%YAML 1.1", "\n", "\nops:\n  port: 3"]


def address_of(ops: OpsSettings) -> OpsAddress:
    return OpsAddress(ops.host, ops.port, ops.token_file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "log:\n  level: debug\n",
        "ops:\n",
        "ops:\n  port: 9200\n",
        "ops:\n    host: '0.0.0.0'   # all of them\n    port: \"9200\"\n\n    token_file: /run/secrets/token\nlog: {level: debug}\n",
        "ops:\n  token_file: null\n  # port: 1\n",
        'hook:\n  endpoints: {github/push: {networks: [10.0.0.0/8, "::1"]}}\nops:\n  port: 9200\naudit:\n  rules:\n  - level: none\n    clients: [local*]\n',
    ],
)
def test_what_is_written_plainly_is_read_as_the_full_reading_does(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(text, encoding="utf-8")
    environ = {"SIDECAR_CONFIG": str(path)}

    assert quick_address(environ) == address_of(load(environ).ops)


@pytest.mark.parametrize("path", [ROOT / "config" / "sidecar.yaml", ROOT / "config" / "compose" / "sidecar.yaml"])
def test_our_own_files_are_plain(path: Path) -> None:
    environ = {"SIDECAR_CONFIG": str(path)}

    assert quick_address(environ) == address_of(load(environ).ops)


@pytest.mark.parametrize(
    "text",
    [
        "ops: {port: 9200}\n",
        '"ops":\n  port: 9200\n',
        "ops :\n  port: 9200\n",
        " ops:\n   port: 9200\n",
        "ops:\n\tport: 9200\n",
        "ops:\n  port: 9200\nops:\n  port: 9201\n",
        "ops:\n  port: 9200\n  port: 9201\n",
        "ops:\n  port: &port 9200\n",
        "ops:\n  host: a\n    b\n",
        "ops:\n  host: on\n",
        "ops:\n  port: 0x23\n",
        "ops:\n  port: 99999\n",
        "ops:\n  prot: 9200\n",
        "base: &base {ops: {port: 1}}\n<<: *base\n",
        "log:\n  level: 'a\nops:\n  port: 9200'\n",
        "log:\n  level: [a,#b]\nops:\n  port: 1\n  ]\n",
        "--- \nops:\n  port: 9200\n",
    ],
)  # fmt: skip
def test_what_only_a_parser_understands_is_left_to_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(NotPlain):
        quick_address({"SIDECAR_CONFIG": str(path)})


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
@example("log:\n  a: [b, x 'y # z' ]\nops:\n  port: 1\n")
@example("log:\n  it's: 'abc\nops:\n  port: 1'\n")
@example("log:\n  a: [x 'y, ' z]\nops:\n  port: 1\n  ']\n")
def test_it_never_reads_what_yaml_does_not(text: str) -> None:
    try:
        found = plain_options(text)
        whole = yaml.safe_load(text) or {}
    except (NotPlain, yaml.YAMLError):
        return  # no answer, or a file that nothing starts with

    assert found == {name: str(value) for name, value in (whole.get("ops") or {}).items() if value is not None}


def test_the_environment_is_laid_over_the_file_and_its_faults_are_left_to_the_full_reading(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text("ops:\n  host: localhost\n  port: 1\n", encoding="utf-8")
    environ = {"SALT_MASTER_CONFIG": str(tmp_path / "master"), "SIDECAR_OPS_PORT": "9200", "SIDECAR_LOG_LEVEL": "debug"}

    assert quick_address(environ) == OpsAddress("localhost", 9200, None) == address_of(load(environ).ops)
    for wrong in ({"SIDECAR_OPS_PROT": "1"}, {"SIDECAR_OPS_PORT": "many"}, {"SIDECAR_CONFIG": str(tmp_path / "none")}):
        with pytest.raises(NotPlain):
            quick_address(environ | wrong)
        with pytest.raises(InvalidConfiguration):
            load(environ | wrong)


def test_without_a_file_it_is_the_default_wherever_the_master_configuration_would_be(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "master", tmp_path / ("x" * 300) / "master"):
        assert quick_address({"SALT_MASTER_CONFIG": str(path)}) == address_of(OpsSettings())
