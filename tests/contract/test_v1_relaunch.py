"""`POST /v1/jobs/JID/relaunch` on either master: again, on those that need it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.errors import MasterTimeout
from tests.caller import Response
from tests.contract.conftest import Api, a_store, fake_api
from tests.contract.test_v1_jobs import BOTH, fake, gateway_of, get, keys, post, problem, returned, token_of

__all__ = ["fake"]  # a fixture


def relaunch(api: Api, jid: str, minions: object, query: str = "?wait=30", key: str = "", user: dict[str, str] | None = None, **sent: Any) -> Response:
    headers = {"x_auth_token": token_of(api, user), **({"idempotency_key": key} if key else {})}
    return api.caller.post({"minions": minions, **sent}, f"/v1/jobs/{jid}/relaunch{query}", **headers)


@pytest.mark.costly
def test_a_job_runs_again_on_those_that_failed(api: Api) -> None:
    first = post(api, fun="no.such", deadline=77, cause_url="https://ci.example.org/1").json()
    answer = relaunch(api, first["jid"], "failed", "?wait=30&fail=1")
    again = answer.json()

    assert (answer.status, again["status"], again["minions"].keys()) == (422, "failed", BOTH)
    assert (again["parent"], again["links"]["parent"]) == (first["jid"], first["links"]["self"])
    assert (again["tgt"], again["tgt_type"], again["fun"], again["cause_url"]) == (sorted(BOTH), "list", "no.such", first["cause_url"])
    assert answer.headers["location"] == again["links"]["self"]
    named = relaunch(api, again["jid"], ["minion-2"]).json()
    assert (named["parent"], named["minions"].keys()) == (again["jid"], {"minion-2"})
    listed = {job["jid"]: job["parent"] for job in get(api, "?limit=1000").json()["jobs"]}
    assert (listed[named["jid"]], listed[again["jid"]], listed[first["jid"]]) == (again["jid"], first["jid"], None)


@pytest.mark.master
def test_only_the_minion_that_failed_runs_again(real_api: Api) -> None:
    shell: dict[str, Any] = {"arg": ["test {{ grains['id'] }} = minion-1"], "kwarg": {"template": "jinja", "python_shell": True}}
    first = post(real_api, fun="cmd.run", **shell).json()
    again = relaunch(real_api, first["jid"], "failed", "?wait=30&fields=minions,return,status").json()

    assert first["counts"] == {"ok": 1, "failed": 1}
    assert (again["status"], again["minions"].keys()) == ("failed", {"minion-2"})
    assert again["minions"]["minion-2"]["retcode"] == 1


def test_those_whose_turn_never_came_have_it_in_a_new_job(api: Api) -> None:
    first = post(api, fun="no.such", batch=1, stop_after_failures=1).json()
    again = relaunch(api, first["jid"], "not_run").json()

    assert first["counts"] == {"failed": 1, "not_run": 1}
    assert (again["counts"], again["minions"].keys()) == ({"failed": 1}, {one for one, part in first["minions"].items() if part["status"] == "not_run"})


def test_nobody_left_is_told_apart(api: Api) -> None:
    jid = post(api).json()["jid"]

    assert problem(relaunch(api, jid, "not_ok")) == (409, "NothingLeft")


def test_the_same_key_twice_is_one_job_whatever_has_become_of_the_first(api: Api) -> None:
    first, key = post(api, fun="no.such").json()["jid"], f"again-{next(keys)}"
    answers = [relaunch(api, first, "failed", key=key) for _ in range(2)]

    assert answers[0].json()["jid"] == answers[1].json()["jid"] != first
    assert ["idempotency-replayed" in answer.headers for answer in answers] == [False, True]
    assert problem(relaunch(api, first, ["minion-1"], key=key)) == (422, "KeyReused")
    assert problem(post(api, fun="no.such", key=key)) == (422, "KeyReused")


def test_what_runs_on_the_master_runs_again_there(api: Api) -> None:
    asked = {"client": "runner", "fun": "test.arg", "arg": ["a"]}
    first = api.caller.post(asked, "/v1/jobs?wait=30", x_auth_token=token_of(api)).json()
    again = relaunch(api, first["jid"], ["master"], "?wait=30&fields=return,parent,status,minions").json()

    assert (again["parent"], again["status"], again["minions"]["master"]["return"]["args"]) == (first["jid"], "succeeded", ["a"])
    assert problem(relaunch(api, first["jid"], "failed")) == (409, "NothingLeft")


def test_others_jobs_do_not_exist(api: Api) -> None:
    jid = post(api, fun="test.echo", arg=["x"]).json()["jid"]

    for missing in (jid, "1", "9" * 500):
        assert problem(relaunch(api, missing, ["minion-1"], user=api.pinger)) == (404, "NoSuchJob")


@pytest.mark.costly
def test_a_job_runs_again_when_it_is_over_and_not_before(fake: Api) -> None:
    gateway_of(fake).master.silent = {"minion-2"}
    jid = post(fake, "").json()["jid"]
    early = relaunch(fake, jid, "not_ok")
    assert (problem(early), early.json()["jid"]) == ((409, "Conflict"), jid)
    gateway_of(fake).hub.deliver(returned(jid, "minion-2", retcode=1, success=False))
    get(fake, f"/{jid}?wait=30")
    gateway_of(fake).master.silent = set()

    again = relaunch(fake, jid, "failed").json()
    assert (again["status"], again["minions"].keys()) == ("succeeded", {"minion-2"})


@pytest.mark.costly
def test_arguments_that_look_secret_are_asked_for_again(fake: Api, tmp_path: Path) -> None:
    secret: dict[str, Any] = {"arg": ["x"], "kwarg": {"pillar": {"a": "hunter2"}}}
    jid = post(fake, fun="no.such", **secret).json()["jid"]
    refused, wrong = relaunch(fake, jid, "failed"), relaunch(fake, jid, "failed", arg=["x"])
    again = relaunch(fake, jid, "failed", key="k", **secret)

    assert (problem(refused), problem(wrong)) == ((422, "Unprocessable"),) * 2
    assert "send" in refused.json()["detail"]
    assert (again.status, again.json()["parent"], again.json()["counts"]) == (200, jid, {"failed": 2})
    fake.process.stop()
    assert b"hunter2" not in b"".join(path.read_bytes() for path in tmp_path.glob("jobs.db*"))


def test_arguments_are_kept_whatever_they_look_like_where_that_is_wanted(tmp_path: Path) -> None:
    api = fake_api(tmp_path, **a_store(tmp_path), SIDECAR_JOBS_KEEP_ARGUMENTS="true")
    jid = post(api, fun="no.such", kwarg={"pillar": {"a": "hunter2"}}).json()["jid"]
    again = relaunch(api, jid, "failed")
    loads = [load for load in gateway_of(api).master.loads if load.get("fun") == "no.such"]
    api.process.stop()

    assert again.json()["counts"] == {"failed": 2}
    assert loads[0]["arg"] == loads[1]["arg"] != []


@pytest.mark.slow
def test_a_publish_in_doubt_is_found_again_by_the_same_request(fake: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    jid, master = post(fake, fun="no.such").json()["jid"], gateway_of(fake).master
    send = master.send
    lost: list[dict[str, Any]] = []

    def lose(load: dict[str, Any], **options: Any) -> Any:
        if load["cmd"] == "publish" and not lost:
            lost.append(load)
            raise MasterTimeout("no answer in time")
        return send(load, **options)

    monkeypatch.setattr(master, "send", lose)
    first, again = relaunch(fake, jid, "failed", "", key="k"), relaunch(fake, jid, "failed", key="k")

    assert (first.status, first.json()["status"]) == (202, "in_doubt")
    assert (again.json()["jid"], again.json()["status"], again.json()["parent"]) == (first.json()["jid"], "failed", jid)
