"""A sidecar that cannot start says every reason in one JSON line each, and exits with 78."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from tests.real.conftest import MakeSidecar
from tests.real.sidecar import Sidecar

pytestmark = pytest.mark.slow

EX_CONFIG = 78
GOOD = "interface: 127.0.0.1\nnetapi_enable_clients: [local]\nexternal_auth: {sharedsecret: {demo: ['.*']}}\n"
# Takes from root what lets it read files that are closed to it.
AS_EVERYBODY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "master"
    path.write_text(GOOD)
    return path


def faults_of(sidecar: Sidecar, *under: str) -> dict[str, str]:
    """Start it, see it end, and return what was wrong where; everything it says is JSON, and Salt may have its say first."""
    assert sidecar.launch(*under).end() == EX_CONFIG, sidecar.lines()
    lines = sidecar.lines("config.invalid")
    assert {line["event"] for line in sidecar.lines()} <= {"config.invalid", "log"}
    assert all(line["fix"] for line in lines)
    assert sidecar.stderr() == ""
    return {line["where"]: line["problem"] for line in lines}


def test_a_missing_master_configuration(tmp_path: Path, make_sidecar: MakeSidecar) -> None:
    assert faults_of(make_sidecar(tmp_path / "nowhere")) == {str(tmp_path / "nowhere"): "does not exist"}


def test_a_directory_as_master_configuration(tmp_path: Path, make_sidecar: MakeSidecar) -> None:
    assert faults_of(make_sidecar(tmp_path)) == {str(tmp_path): "is a directory"}


def test_json_in_the_variable_as_the_image_of_salt_wants_it(make_sidecar: MakeSidecar) -> None:
    sidecar = make_sidecar(Path(json.dumps({"interface": "0.0.0.0", "x": "y" * 5000})), beside_master=True)

    (where,) = faults_of(sidecar)

    assert where == "SALT_MASTER_CONFIG"


@pytest.mark.parametrize("content", ["interface: [", "- a\n- list\n", "just words", "\x00"], ids=repr)
def test_a_master_configuration_that_is_no_mapping(config: Path, make_sidecar: MakeSidecar, content: str) -> None:
    config.write_text(content)

    (where,) = faults_of(make_sidecar(config))

    assert where == str(config)


@pytest.mark.parametrize("closed", ["etc/master", "etc"])
def test_a_master_configuration_that_we_may_not_read(tmp_path: Path, config: Path, make_sidecar: MakeSidecar, closed: str) -> None:
    (tmp_path / "etc").mkdir()
    config.rename(tmp_path / "etc" / "master")
    sidecar = make_sidecar(tmp_path / "etc" / "master")
    (tmp_path / closed).chmod(0)
    try:
        found = faults_of(sidecar, *(AS_EVERYBODY if os.getuid() == 0 else ()))
    finally:
        (tmp_path / closed).chmod(0o700)

    assert found == {str(tmp_path / "etc" / "master"): f"cannot be read by uid {os.getuid()}"}


def test_all_faults_of_all_sources_at_once(tmp_path: Path, make_sidecar: MakeSidecar) -> None:
    sidecar = make_sidecar(tmp_path / "nowhere", API_PORT="eight", LIMITS_NONSENSE=1, LIMITS_SYNC_JOBS=0)

    found = faults_of(sidecar)

    assert set(found) == {str(tmp_path / "nowhere"), "SIDECAR_API_PORT", "SIDECAR_LIMITS_NONSENSE", "SIDECAR_LIMITS_SYNC_JOBS"}
    assert found["SIDECAR_LIMITS_NONSENSE"] == "no such option"


def test_a_transport_that_we_do_not_speak(config: Path, make_sidecar: MakeSidecar) -> None:
    config.write_text(f"{GOOD}transport: tcp\n")

    assert list(faults_of(make_sidecar(config))) == ["transport"]


@pytest.mark.parametrize("name", ["api", "ops"])
def test_a_port_that_is_taken(config: Path, make_sidecar: MakeSidecar, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        found = faults_of(make_sidecar(config, **{f"{name.upper()}_PORT": port}))

    assert found == {f"{name}.port": f"port {port} on 127.0.0.1 is taken"}


def test_audit_files_that_may_not_be_used(config: Path, tmp_path: Path, make_sidecar: MakeSidecar) -> None:
    folder, key = tmp_path / "closed", tmp_path / "key"
    folder.mkdir(mode=0o500)
    key.write_text("k" * 32)
    key.chmod(0o200)
    faults = faults_of(make_sidecar(config, AUDIT_SINKS="file", AUDIT_FILE=folder / "audit.jsonl", AUDIT_HMAC_KEY_FILE=key), *AS_EVERYBODY)

    assert faults == {
        "audit.file": f"uid {os.getuid()} may not make files in {folder}",
        "audit.hmac_key_file": f"{key}: Permission denied",
    }
