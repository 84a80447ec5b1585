"""Runbooks and other commands for a master's machine, on a real master with a sidecar beside it, as an installation without containers has them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from service.demo.embedded import EmbeddedSalt
from tests.documented.commands import Command, definitions, run_by
from tests.documented.shell import Shell, program
from tests.real.sidecar import Sidecar

pytestmark = pytest.mark.master


@pytest.fixture(scope="module")
def shell(salt_master: EmbeddedSalt, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Run a sidecar that has something in its log, with the system's journal in a file."""
    if shutil.which("jq") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no jq: apt-get install jq")
    folder = tmp_path_factory.mktemp("documented")
    store = f"sqlite://{folder}/jobs.db"
    with Sidecar(salt_master.master_config, folder / "sidecar", JOBS_STORE=store) as sidecar:
        jid = _use(sidecar, salt_master)
        master = yaml.safe_load(salt_master.master_config.read_text(encoding="utf-8"))
        _programs(folder / "bin", sidecar, Path(master["log_file"]))
        environ = {
            "SALT_CONFIG_DIR": str(salt_master.master_config.parent),
            "SALT_MASTER_CONFIG": str(salt_master.master_config),
            "SIDECAR_API_PORT": str(sidecar.api_port),
            "SIDECAR_OPS_PORT": str(sidecar.ops_port),
            "SIDECAR_JOBS_STORE": store,
        }
        reader = {"JID": jid, "MINION": "nobody", "/var/run/salt/master": master["sock_dir"], ":1199": f":{salt_master.publish_port:04X}"}
        yield Shell(folder, folder / "bin", environ, definitions("package"), reader)


def _use(sidecar: Sidecar, salt: EmbeddedSalt) -> str:
    """Leave traces in the log: a job, one that fails, a login that is refused. Returns the id of a job."""
    low = {"client": "local", "tgt": "*", **salt.credentials}
    assert sidecar.post({**low, "fun": "test.ping"}).status == 200
    sidecar.post({**low, "fun": "no.such_function"})
    assert sidecar.post({**low, "fun": "test.ping", "password": "guessed"}).status == 401
    return str(sidecar.post({**low, "client": "local_async", "fun": "test.ping"}).value["jid"])


def _programs(folder: Path, sidecar: Sidecar, master_log: Path) -> None:
    folder.mkdir()
    for name in ("salt-sidecar", "salt", "salt-run", "salt-key"):
        (folder / name).symlink_to(Path(sys.executable).parent / name)
    program(folder, "runuser", 'test "$1 $2 $3" = "-u salt --" && shift 3 && exec "$@"')
    program(folder, "journalctl", _journalctl({"salt-sidecar": sidecar.folder / "stdout", "salt-master": master_log}))


def _journalctl(files: dict[str, Path]) -> str:
    """Return a stand-in for the journal. Of `-u` it would also print what systemd says of the unit, which is no JSON."""
    cases = "\n".join(f"'--output cat _SYSTEMD_UNIT={unit}.service') exec cat '{file}' ;;" for unit, file in files.items())
    return f'case "$*" in\n{cases}\n*) echo "unknown: $*" >&2; exit 1 ;;\nesac'


@pytest.mark.parametrize("command", run_by("runbook"), ids=str)
def test_a_runbook_works(command: Command, shell: Shell) -> None:
    shell.run(command)


@pytest.mark.parametrize("command", run_by("master"), ids=str)
def test_it_works(command: Command, shell: Shell) -> None:
    shell.run(command)
