"""What is kept of what a job's function gets, and what a job that runs again is asked for."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.auth.identity import Identity
from service.errors import Conflict, NoSuchJob, NothingLeft, Unprocessable
from service.jobs.inputs import LIMIT_BYTES, kept
from service.jobs.job_request import MOST_FAULTS, JobRequest, parse
from service.jobs.outcome import MinionStatus
from service.jobs.relaunch import MEANT, again
from service.jobs.stores.store import Change, PartRecord
from service.observe.redact import redact_text
from tests.unit.jobs.kept import JID, job
from tests.unit.jobs.test_submission import SESSION, Desk

ME = SESSION.identity
CANARY = "hunter2"


def asked(**fields: Any) -> JobRequest:
    return parse({"tgt": "*", "fun": "state.apply", **fields})


def over(desk: Desk, statuses: dict[str, MinionStatus], *, status: str = "failed", **fields: Any) -> None:
    """Store a job that is over."""
    record = job(request=asked(**fields).kept(), finished=2000.0, status=status)
    desk.sidecar.store.intend(record, kept(asked(**fields), secrets_too=False))
    desk.sidecar.store.save([Change(record, {minion: PartRecord(status) for minion, status in statuses.items()})])


def pointers(desk: Desk, body: object) -> list[str]:
    with pytest.raises(Unprocessable) as caught:
        again(desk.desk, JID, body, ME, None)
    assert CANARY not in json.dumps([caught.value.reason, caught.value.details])
    return [error["pointer"] for error in caught.value.details["errors"]]


@pytest.mark.parametrize(
    "fields",
    [
        {"kwarg": {"pillar": {"a": CANARY}}},
        {"arg": ["app", f"pillar={{'a': '{CANARY}'}}"]},
        {"arg": [["app"], [{"pillar": CANARY}]], "fun": ["state.apply", "state.apply"]},
        {"kwarg": {"password": CANARY}},
        {"kwarg": {"env": [{"DB_PASSWORD": CANARY}]}},
        {"kwarg": {"db": {"api_key": CANARY}}},
        {"arg": [f"mysql --password={CANARY}"], "fun": "cmd.run"},
        {"arg": [f"mysql --password {CANARY}"], "fun": "cmd.run"},
        {"arg": [f"curl https://ci:{CANARY}@example.org/"], "fun": "cmd.run"},
        {"arg": [f"curl -H 'Authorization: Bearer {CANARY}'"], "fun": "cmd.run"},
        {"arg": [f"-----BEGIN PRIVATE KEY-----\n{CANARY}"], "fun": "file.write"},
        {"arg": ["root", CANARY], "fun": "shadow.set_password"},
        {"arg": [f"x={CANARY}", "key=1"], "fun": "test.arg"},
        {"metadata": {"token": CANARY}},
        {"kwarg": {f"secret_{CANARY}": None}},
        {"kwarg": {"a": [[[[[[[[[[[[[[[[[[CANARY]]]]]]]]]]]]]]]]]]}},
    ],
)
def test_what_looks_secret_is_not_kept_unless_that_is_wanted(fields: dict[str, Any]) -> None:
    assert kept(asked(**fields), secrets_too=False) is None
    assert CANARY not in json.dumps(asked(**fields).kept())
    wanted = kept(asked(**fields), secrets_too=True)
    assert wanted is not None
    assert JobRequest.model_validate({"tgt": "*", "fun": "x", **json.loads(wanted)}).inputs == asked(**fields).inputs


WORDS = (
    "password",
    "db_key",
    "key",
    "monkey",
    "Api-Key",
    "tokens",
    "x.secret_y",
    "priv",
    "cookie",
    "Authorization",
    "passphrase",
    "passwd",
    "'",
    '"',
    " ",
    "=",
    ":",
    "\n",
    "1",
    "Bearer",
    "ß",
)


@pytest.mark.costly
@settings(max_examples=60)
@given(st.lists(st.sampled_from(WORDS), max_size=12).map("".join))
def test_what_would_be_masked_in_the_log_is_not_kept(text: str) -> None:
    assert redact_text(text) == text or kept(asked(arg=[text]), secrets_too=False) is None


@pytest.mark.costly
def test_a_long_text_is_looked_through_in_no_time() -> None:
    started = time.process_time()
    for text in ("x" * (LIMIT_BYTES - 200), "key " * (LIMIT_BYTES // 4 - 100), "://" * (LIMIT_BYTES // 3 - 100), "x" * 10_000_000):
        kept(asked(arg=[text]), secrets_too=False)

    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    ("fields", "is_kept"),
    [
        ({}, True),
        ({"arg": ["app", 1, None, True, "ä\x00\ud800"], "kwarg": {"saltenv": "base", "queue": True}, "metadata": {"step": 7}}, True),
        ({"arg": ["systemctl restart app"], "fun": "cmd.run"}, True),
        ({"arg": ["x" * (LIMIT_BYTES - 100)]}, True),
        ({"arg": ["x" * LIMIT_BYTES]}, False),
        ({"arg": [b"bytes"]}, False),
        ({"arg": [float("nan")]}, False),
        ({"arg": [{1: "a number is no name in JSON"}]}, False),
    ],
)
def test_what_comes_back_as_it_was_is_kept_up_to_a_size(fields: dict[str, Any], is_kept: bool) -> None:
    assert (kept(asked(**fields), secrets_too=False) is not None) == is_kept
    assert (kept(asked(**fields), secrets_too=True) is not None) == is_kept


def test_who_is_meant_by_each_word_is_decided_for_every_status() -> None:
    statuses = {*get_args(MinionStatus)}

    assert {*MEANT["not_ok"]} == statuses - {"ok"}
    # A minion that was stopped, or that still runs the job, is told by none of the narrower words.
    assert statuses - {status for word, meant in MEANT.items() if word != "not_ok" for status in meant} == {"ok", "waiting", "running", "cancelled"}


@pytest.mark.parametrize(
    ("minions", "chosen"),
    [
        ("failed", ["b"]),
        ("missing", ["c", "d", "e", "f"]),
        ("not_run", ["i"]),
        ("not_ok", ["b", "c", "d", "e", "f", "g", "h", "i"]),
        (["h", "a", "a"], ["a", "h"]),
    ],
)
def test_a_job_runs_again_on_who_is_meant_as_it_was(tmp_path: Path, minions: str | list[str], chosen: list[str]) -> None:
    fields: dict[str, Any] = {"arg": ["app"], "kwarg": {"test": False}, "metadata": {"n": 1}, "deadline": 77.0, "min_success": "50%", "fail_on": "all"}
    fields |= {"missing": "ignore", "timeout": 9.0, "fail_on_false": True, "on_doubt": "republish", "cause_url": "https://ci.example.org/1"}
    fields |= {
        "notify": "https://ci.example.org/hooks/",
        "concurrency": {"group": "app", "when_busy": "queue"},
        "batch": [1, "50%"],
        "batch_wait": 1.0,
        "stop_after_failures": 1,
    }
    statuses: list[MinionStatus] = ["ok", "failed", "lost", "no_return", "no_key", "unknown", "cancelled", "running", "not_run"]
    desk = Desk(tmp_path)
    over(desk, dict(zip("abcdefghi", statuses, strict=True)), dry_run=True, **fields)
    request, _ = again(desk.desk, JID, {"minions": minions}, ME, None)

    assert request == parse({"tgt": chosen, "tgt_type": "list", "fun": "state.apply", "dry_run": True, **fields})
    desk.sidecar.store.close()


@pytest.mark.costly
def test_no_more_than_all_have_to_be_well(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    over(desk, {"a": "failed", "b": "failed", "c": "ok"}, min_success=3)

    assert again(desk.desk, JID, {"minions": "failed"}, ME, None)[0].min_success == 2
    desk.sidecar.store.close()


def test_a_job_whose_inputs_were_not_kept_wants_the_same_ones_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    over(desk, {"a": "failed"}, arg=["app"], kwarg={"pillar": {"x": CANARY}})

    assert pointers(desk, {"minions": "failed"}) == ["/arg"]
    assert pointers(desk, {"minions": "failed", "arg": ["app"], "kwarg": {"pillar": {"x": "other"}}}) == ["/arg", "/kwarg"]
    assert pointers(desk, {"minions": "failed", "kwarg": {"pillar": {"x": CANARY}}}) == ["/kwarg"]
    request, _ = again(desk.desk, JID, {"minions": "failed", "arg": ["app"], "kwarg": {"pillar": {"x": CANARY}}}, ME, None)
    assert request.kwarg == {"pillar": {"x": CANARY}}
    desk.sidecar.store.close()


def test_others_inputs_than_those_that_were_kept_are_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    over(desk, {"a": "failed"}, arg=["app"])

    assert pointers(desk, {"minions": "failed", "arg": ["db"]}) == ["/arg"]
    assert again(desk.desk, JID, {"minions": "failed", "arg": ["app"]}, ME, None)[0].arg == ["app"]
    desk.sidecar.store.close()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ({}, "/minions"),
        ({"minions": "ok"}, "/minions"),
        ({"minions": "failed", "fun": "cmd.run"}, "/fun"),
        ({"minions": "failed", "arg": "app"}, "/arg"),
        ({"minions": ["a", "stranger"]}, "/minions/1"),
    ],
)
def test_what_cannot_be_taken_is_pointed_at(tmp_path: Path, body: object, pointer: str) -> None:
    desk = Desk(tmp_path)
    over(desk, {"a": "failed"})

    assert pointers(desk, body) == [pointer]
    desk.sidecar.store.close()


def test_a_job_that_was_cancelled_runs_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    over(desk, {"a": "cancelled", "b": "ok"}, status="cancelled")

    assert again(desk.desk, JID, {"minions": "not_ok"}, ME, None)[0].tgt == ["a"]
    desk.sidecar.store.close()


def test_of_many_strangers_some_are_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    over(desk, {"a": "failed"})

    assert pointers(desk, {"minions": ["a", *map(str, range(1000))]}) == [f"/minions/{number}" for number in range(1, MOST_FAULTS + 1)]
    desk.sidecar.store.close()


@pytest.mark.costly
def test_a_job_runs_again_for_its_owner_when_it_is_over_and_somebody_is_left(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    over(desk, {"a": "ok"})
    bodies: list[dict[str, Any]] = [{"minions": "not_ok"}, {"minions": []}]
    for body in bodies:
        with pytest.raises(NothingLeft):
            again(desk.desk, JID, body, ME, None)
    for stranger in (Identity("other", "pam", (), [], sees_everything=False), Identity("admin", "pam", (), [], sees_everything=True)):
        with pytest.raises(NoSuchJob):
            again(desk.desk, JID, {"minions": ["a"]}, stranger, None)
    running = dataclasses.replace(job("2" * 20), status="running")
    desk.sidecar.store.intend(running)
    with pytest.raises(Conflict) as caught:
        again(desk.desk, running.jid, {"minions": "failed"}, ME, None)
    assert caught.value.details == {"jid": running.jid}
    desk.sidecar.store.close()
