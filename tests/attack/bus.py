"""Attacks by what comes from elsewhere: a hostile minion on the bus, webhooks that somebody else made, and probes that want to leave no trace."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.demo.embedded import until
from tests.attack.scene import PATIENCE_SECONDS, SECRETS, Attack, Scene, Seen, post, refused

BODY = b'{"action": "opened"}'


def lies_about_a_job(scene: Scene) -> Seen:
    """Run a job on a minion that puts errors, minions that are none and returns of others on the bus before anybody returns."""
    liar, *honest = scene.simulated
    answer = scene.sidecar.post({**scene.admin, "client": "local", "tgt": "sim-*", "fun": "test.echo", "arg": ["hello"]})
    value = answer.json()["return"][0] if answer.status == 200 else {}
    whole = sum(value.get(name) == "hello" for name in honest)
    return Seen(f"{answer.status}, {whole} of {len(honest)} honest returns", answer.status == 200 and whole == len(honest) and liar in value)


def a_stranger_answers(scene: Scene) -> Seen:
    asked = {*scene.simulated}
    value = scene.sidecar.post({**scene.admin, "client": "local", "tgt": "sim-*", "fun": "test.ping"}).value
    return Seen(f"ids that were not asked: {sorted(value.keys() - asked) or 'none'}", value.keys() == asked)


def lies_are_counted(scene: Scene) -> Seen:
    kinds = ("tag", "identity", "field", "unexpected")
    counted: list[float] = []
    for _ in until(PATIENCE_SECONDS):
        # The master's workers may tell of the liar's own return before its lies: then the job is over, and they are late.
        scene.sidecar.post({**scene.admin, "client": "local", "tgt": scene.simulated[0], "fun": "test.ping"})
        counted = [scene.sidecar.metric("salt_event_odd_total", kind=kind) for kind in kinds]
        if all(counted):
            break
    return Seen(" ".join(f"{kind}: {count:.0f}" for kind, count in zip(kinds, counted, strict=True)), all(counted))


def signed(name: str, signed_bytes: bytes) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.digest(SECRETS[name], signed_bytes, hashlib.sha256).hex()}


def timed() -> dict[str, str]:
    """Return the headers of a call to the webhook whose signature covers a time."""
    stamp = str(int(time.time()))
    return {"X-Time": stamp, **signed("deploy", stamp.encode() + b"." + BODY)}


def sent(scene: Scene, path: str, headers: Mapping[str, str]) -> Any:
    return post(scene.sidecar, path, BODY, headers)


def signature_elsewhere(scene: Scene) -> Seen:
    headers = signed("github", BODY)
    first = sent(scene, "/hook/github/push", headers)
    seen = refused(sent(scene, "/hook/github/deploy", headers))
    return Seen(f"{first.status}, elsewhere {seen.now}", first.status == 200 and seen.held)


def signature_again(scene: Scene) -> Seen:
    headers = timed()
    first = sent(scene, "/hook/deploy", headers)
    seen = refused(sent(scene, "/hook/deploy", headers))
    return Seen(f"{first.status}, again {seen.now}", first.status == 200 and seen.held)


def neighbour_of_a_signed_path(scene: Scene) -> Seen:
    return refused(sent(scene, "/hook/githubx", {}))


def recorded(trail: Path, request_id: str) -> list[dict[str, Any]]:
    """Wait for the records of a request; those of a look-up come before its answer, others right after."""
    found: list[dict[str, Any]] = []
    for _ in until(PATIENCE_SECONDS):
        # The first record makes the file, and the last one may be half written.
        lines = trail.read_bytes().rpartition(b"\n")[0].splitlines() if trail.exists() else []
        found = [record for line in lines if (record := json.loads(line)).get("request_id") == request_id]
        if any(record["stage"] == "response_complete" for record in found):
            break
    return found


def probe_with_ssh(scene: Scene) -> Seen:
    # What other attacks have had refused counts against the rate of such records.
    trail = scene.folder / "probes.jsonl"
    with scene.fresh(**scene.audited(trail)) as sidecar:
        answer = sidecar.post({**scene.admin, "client": "ssh", "tgt": "*", "fun": "test.ping"})
        records = recorded(trail, answer.headers["x-request-id"])
    return Seen(f"{answer.status}, {len(records)} record: {records[-1]['decision'] if records else ''}", answer.status == 400 and len(records) == 1)


def returns_of_others(scene: Scene) -> Seen:
    answer = scene.sidecar.post({**scene.admin, "client": "runner", "fun": "jobs.lookup_jid", "kwarg": {"jid": "20260101000000000000"}})
    records = recorded(scene.folder / "audit.jsonl", answer.headers["x-request-id"])
    return Seen(f"{answer.status}, {len(records)} records", answer.status == 200 and len(records) == 2)


ATTACKS = [
    Attack("D16", "errors and minions in events of a running job", "401, or 500 without the others' returns", lies_about_a_job),
    Attack("D16", "the return of an id that was not asked", "in the answer", a_stranger_answers),
    Attack("D16", "lies that nobody notices", "not counted", lies_are_counted),
    Attack("D17", "a webhook's signature on another path", "200", signature_elsewhere),
    Attack("D17", "the same signature again, inside its time", "200", signature_again),
    Attack("D17", "/hook/githubx beside a signed /hook/github", "200", neighbour_of_a_signed_path),
    Attack("D18", "a probe with client ssh", "no record", probe_with_ssh),
    Attack("D18", "jobs.lookup_jid, others' returns", "no record by default", returns_of_others),
]
