"""A master of masters: the returns of a minion two masters away arrive, as Salt's own client gives them."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from service.demo.embedded import PATIENCE_SECONDS, SCRIPTS, EmbeddedSalt, until
from service.demo.processes import Child
from tests.contract.reference import Reference
from tests.real.held import Held
from tests.real.sidecar import Sidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]

# Salt 3008.3's own salt-syndic says nothing after its first request: SyncWrapper._target cancels the task that sends, as an "orphan"
# (salt/utils/asynchronous.py, _task_is_orphan: an object's __dict__ counts as no owner). This is salt-syndic without that.
SYNDIC = """
import salt.scripts, salt.utils.asynchronous
salt.utils.asynchronous.SyncWrapper._task_is_orphan = classmethod(lambda *_: False)
salt.scripts.salt_syndic()
"""
# Short, as every question takes these times in full.
TIMES = {"timeout": 3, "gather_job_timeout": 3}
# Within this time a question goes down to the minion and its answer comes back, on a slow machine too.
QUESTION_SECONDS = 15


def syndic_of(lower: EmbeddedSalt, folder: Path) -> Child:
    """Make a syndic. It reads the lower master's configuration and, beside it, one as a minion."""
    options = yaml.safe_load(lower.master_config.read_text())
    own = {name: options[name] for name in ("cachedir", "sock_dir", "user", "extension_modules")}
    # With any publish_port but 4506 the syndic would listen there; with 4506 it asks the upper master (salt/channel/client.py, AsyncPubChannel.connect).
    own |= {"id": "lower", "pki_dir": str(folder / "pki"), "acceptance_wait_time": 1, "publish_port": 4506}
    (lower.master_config.parent / "minion").write_text(yaml.safe_dump(own))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SALT_")}
    argv = [str(SCRIPTS / "python"), "-c", SYNDIC, "-l", "info", "-c", str(lower.master_config.parent)]
    return Child("syndic", argv, folder / "out", environ, grace_seconds=0.0)


def passes_on(upper: EmbeddedSalt, cache: Path) -> bool:
    """Wait until what the upper master publishes has reached the minion, and its return is in the job cache: no client's patience counts."""
    with Reference(upper.master_config) as reference:
        for _ in until(PATIENCE_SECONDS):
            reference.run({**upper.credentials, "client": "local_async", "tgt": "*", "fun": "test.ping"})
            if any(any(cache.rglob("minion-1/return.p")) for _ in until(QUESTION_SECONDS)):
                return True
    return False


@pytest.fixture(scope="module")
def top() -> Iterator[EmbeddedSalt]:
    """Start two masters, a syndic between them and one minion below; give the upper master."""
    # pytest's own folders may be too long for the sockets.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with EmbeddedSalt(folder / "top", minions=0, master={**TIMES, "order_masters": True, "syndic_wait": 2}) as upper:
            files = {"syndic_pidfile": str(folder / "pid"), "syndic_log_file": str(folder / "log")}
            below = {**TIMES, **files, "syndic_master": "127.0.0.1", "syndic_master_port": upper.ret_port}
            with EmbeddedSalt(folder / "low", minions=1, threads=True, master=below) as lower:
                syndic = syndic_of(lower, folder)
                syndic.start()
                try:
                    assert passes_on(upper, folder / "top"), syndic.last_words()
                    yield upper
                finally:
                    syndic.stop()


@pytest.fixture(scope="module")
def sidecar(top: EmbeddedSalt, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    with Sidecar(top.master_config, tmp_path_factory.mktemp("sidecar")) as running:
        yield running


def without_jid(value: dict[str, object], jid: str) -> str:
    """Return a value as text, the id of its own job blanked: a silent minion's words hold it."""
    return json.dumps(value, sort_keys=True).replace(jid, "JID")


def jid_in(value: object) -> str:
    """Return the job id a value mentions, if it mentions one."""
    found = re.search(r"\d{20}", json.dumps(value))
    return found[0] if found else "JID"


def returned(value: dict[str, object]) -> bool:
    """Say whether the minion's return is there, and not what is said instead of one."""
    return "minion-1" in value and "did not return" not in json.dumps(value["minion-1"])


@pytest.mark.parametrize(
    "low",
    [
        {"tgt": "*", "fun": "test.ping"},
        {"tgt": "minion-1", "fun": "test.echo", "arg": ["x"], "full_return": True},
        {"tgt": ["minion-1", "nobody"], "tgt_type": "list", "fun": "test.ping"},
    ],
    ids=str,
)
def test_a_minion_below_a_syndic_answers_as_to_salts_own_client(top: EmbeddedSalt, sidecar: Sidecar, low: dict[str, object]) -> None:
    full = {**top.credentials, "client": "local", **low}
    with Reference(top.master_config) as reference:
        # A minion of a busy machine may need longer than TIMES; which of the two meets that is no difference between them.
        for _ in until(PATIENCE_SECONDS):
            (kind, theirs), ours = reference.run(full), sidecar.post(full).value
            if all(returned(value) for value in (theirs, ours)):
                break

    assert kind == "value"
    assert returned(ours)
    assert without_jid(ours, jid_in(ours)) == without_jid(theirs, jid_in(theirs))


def published(sidecar: Sidecar) -> float:
    return sidecar.metric("salt_api_master_rpc_duration_seconds_count", cmd="publish")


def test_a_minion_below_a_syndic_that_takes_its_time_is_waited_for(top: EmbeddedSalt, sidecar: Sidecar, held: Held) -> None:
    # Salt 3008's own client asks only minions whose keys the upper master has, so it gives up on this one.
    low = {**top.credentials, **held.low, "tgt": "minion-1", "timeout": 1, "gather_job_timeout": QUESTION_SECONDS}
    before = published(sidecar)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(sidecar.post, low)
        # The job, and two questions: nobody asks again who has not heard that the minion is at work.
        sidecar.wait(lambda: published(sidecar) >= before + 3 or waiting.done(), "asked twice")
        held.let_go()

    assert waiting.result().value == {"minion-1": "let go"}
