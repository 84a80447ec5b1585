"""Two sidecars on one database of PostgreSQL, over fake masters: a job of one is everybody's, and runs once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from service.demo.embedded import PATIENCE_SECONDS, until
from tests.caller import Response
from tests.contract.conftest import Api, fake_api
from tests.contract.test_v1_events import follow, told
from tests.contract.test_v1_jobs import gateway_of, get, post, problem, returned, token_of
from tests.contract.test_v1_relaunch import relaunch

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.slow

Sidecars = Callable[[], Api]


@pytest.fixture
def sidecars(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[Sidecars]:
    """Return what makes one more sidecar on the same database."""
    made: list[Api] = []
    password = tmp_path / "password"
    password.write_text(f"{postgres_server.password}\n")
    ours = {"SIDECAR_JOBS_STORE": postgres_server.new_database(), "SIDECAR_JOBS_STORE_PASSWORD_FILE": str(password)}

    def make() -> Api:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(api := fake_api(folder, **ours))
        # A request waits a few seconds for the first contact with the server, which may take longer here.
        for _ in until(PATIENCE_SECONDS):
            if api.process.jobs.takes_jobs():
                return api
        raise AssertionError("the server was not reached")

    yield make
    for api in made:
        api.process.stop()


def published(api: Api) -> list[str]:
    return [load["jid"] for load in gateway_of(api).master.loads if load["cmd"] == "publish" and load["fun"] == "test.ping"]


def test_one_key_that_is_sent_to_both_at_once_runs_once(sidecars: Sidecars) -> None:
    both = [sidecars(), sidecars()]
    answers: list[Response] = []
    start = threading.Barrier(len(both))

    def call(api: Api) -> None:
        start.wait()
        answer = post(api, key="k")
        while answer.status == 409:
            answer = post(api, key="k")
        answers.append(answer)

    threads = [threading.Thread(target=call, args=(api,)) for api in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    ((jid,),) = {(answer.json()["jid"],) for answer in answers}
    assert [jid] == [*published(both[0]), *published(both[1])]
    assert [answer.json()["status"] for answer in answers] == ["succeeded", "succeeded"]


def test_a_job_of_one_is_waited_for_followed_and_listed_on_the_other(sidecars: Sidecars) -> None:
    here, there = sidecars(), sidecars()
    gateway_of(here).master.silent = {"minion-2"}
    jid = post(here, "").json()["jid"]
    answers: dict[str, Response] = {}
    waiting = [
        threading.Thread(target=lambda: answers.update(waited=get(there, f"/{jid}?wait=60"))),
        threading.Thread(target=lambda: answers.update(followed=follow(there, jid))),
    ]
    for thread in waiting:
        thread.start()
    gateway_of(here).hub.deliver(returned(jid, "minion-2"))
    for thread in waiting:
        thread.join()

    assert (answers["waited"].status, answers["waited"].json()["status"]) == (200, "succeeded")
    assert told(answers["followed"])[-1]["status"] == "succeeded"
    assert [job["jid"] for job in get(there, "").json()["jobs"]] == [jid]
    assert post(there, "", key="other").json()["jid"] != jid


def test_a_job_is_cancelled_through_a_sidecar_that_does_not_follow_it(sidecars: Sidecars) -> None:
    here, there = sidecars(), sidecars()
    here.process.jobs.start()
    gateway_of(here).master.silent = {"minion-2"}
    jid = post(here, "").json()["jid"]
    answers = [there.caller.request("DELETE", f"/v1/jobs/{jid}", b"", x_auth_token=token_of(there)) for _ in range(2)]
    (asked,) = [load for load in gateway_of(there).master.loads if load.get("fun") == "saltutil.term_job"]
    # The masters of a cluster tell each other what minions answer.
    signalled = returned(asked["jid"], "minion-2", fun="saltutil.term_job", fun_args=[jid], **{"return": "Signal 15 sent to job 1 at pid 2"})
    gateway_of(here).hub.deliver(signalled)
    over = get(there, f"/{jid}?wait=60&fail=1")

    assert [(answer.status, answer.json()["cancel_asked"]) for answer in answers] == [(202, True)] * 2
    assert (asked["tgt"], asked["arg"]) == (["minion-2"], [jid])
    assert (over.status, over.json()["status"], over.json()["counts"]) == (409, "cancelled", {"ok": 1, "cancelled": 1})


def test_a_job_of_one_runs_again_through_the_other(sidecars: Sidecars) -> None:
    here, there = sidecars(), sidecars()
    first = post(here, fun="no.such", arg=["a"]).json()
    again = relaunch(there, first["jid"], "failed").json()
    (load,) = [load for load in gateway_of(there).master.loads if load.get("fun") == "no.such"]

    assert (again["parent"], again["status"]) == (first["jid"], "failed")
    assert (load["jid"], sorted(load["tgt"]), load["arg"]) == (again["jid"], ["minion-1", "minion-2"], ["a"])
    assert get(here, f"/{again['jid']}").json()["parent"] == first["jid"]


def test_a_group_is_one_for_both(sidecars: Sidecars) -> None:
    here, there = sidecars(), sidecars()
    there.process.jobs.start()
    group: dict[str, Any] = {"concurrency": {"group": "g"}}
    gateway_of(here).master.silent = {"minion-2"}
    first = post(here, "", **group).json()["jid"]
    second, third = (post(there, "", **group).json() for _ in range(2))
    assert (second["status"], third["status"]) == ("queued", "queued")
    cancelled = here.caller.request("DELETE", f"/v1/jobs/{third['jid']}", b"", x_auth_token=token_of(here))
    assert get(here, f"/{third['jid']}?wait=30").json()["status"] == "cancelled"
    gateway_of(here).hub.deliver(returned(first, "minion-2"))

    assert cancelled.status in {200, 202}
    assert get(here, f"/{second['jid']}?wait=30").json()["status"] == "succeeded"
    assert published(there) == [second["jid"]]


def test_a_sequence_holds_its_group_on_both(sidecars: Sidecars) -> None:
    here, there = sidecars(), sidecars()
    there.process.jobs.start()
    group: dict[str, Any] = {"concurrency": {"group": "g"}}
    gateway_of(here).master.silent = {"minion-2"}
    ping: dict[str, Any] = {"tgt": "*", "fun": "test.ping"}

    def begun(api: Api, jid: str, count: int) -> list[str]:
        """Wait until so many steps run or have run; return their jids."""
        while len(found := [step["jid"] for step in get(api, f"/{jid}?wait=0.1").json()["steps"] if step["status"] not in {"not_begun", "publishing"}]) < count:
            pass
        return found

    first = here.caller.post({"steps": [ping] * 2, **group}, "/v1/jobs", x_auth_token=token_of(here)).json()["jid"]
    queued = there.caller.post({"steps": [ping], **group}, "/v1/jobs", x_auth_token=token_of(there)).json()
    assert queued["status"] == "queued"
    for number in (1, 2):
        assert get(there, f"/{queued['jid']}").json()["status"] == "queued"
        gateway_of(here).hub.deliver(returned(begun(here, first, number)[-1], "minion-2"))

    assert get(there, f"/{first}?wait=30").json()["status"] == "succeeded"
    over = get(here, f"/{queued['jid']}?wait=30").json()
    assert (over["status"], published(there)) == ("succeeded", [over["steps"][0]["jid"]])


def test_steps_of_one_go_on_and_are_cancelled_on_the_other(sidecars: Sidecars) -> None:
    here = sidecars()
    ping: dict[str, Any] = {"tgt": "*", "fun": "test.ping"}

    def post_steps(api: Api) -> dict[str, Any]:
        answer = api.caller.post({"steps": [ping] * 3}, "/v1/jobs", x_auth_token=token_of(api), idempotency_key="k")
        job: dict[str, Any] = answer.json()
        return job

    def steps_of(api: Api, status: str) -> list[str]:
        """Wait until the last step that was begun has a status; return the jids of those that were."""
        while (begun := [step for step in get(api, f"/{jid}?wait=0.1").json()["steps"] if step["jid"]])[-1:] == [] or begun[-1]["status"] != status:
            pass
        return [step["jid"] for step in begun]

    gateway_of(here).master.silent = {"minion-2"}
    jid = post_steps(here)["jid"]
    (first,) = steps_of(here, "running")
    here.process.stop()
    there = sidecars()
    there.process.jobs.start()
    gateway_of(there).master.silent = {"minion-2"}
    while not get(there, f"/{jid}?wait=0.1").json().get("needs_owner"):
        pass
    assert post_steps(there)["jid"] == jid
    gateway_of(there).hub.deliver(returned(first, "minion-2"))
    while len(begun := steps_of(there, "running")) < 2:
        pass
    third = sidecars()
    cancelled = third.caller.request("DELETE", f"/v1/jobs/{jid}", b"", x_auth_token=token_of(third))
    gateway_of(there).hub.deliver(returned(begun[1], "minion-2"))
    over = get(there, f"/{jid}?wait=60").json()

    assert cancelled.status == 202
    assert begun[0] == first
    assert (over["status"], over["steps"][0]["status"], over["steps"][2]["jid"]) == ("cancelled", "succeeded", None)
    assert published(there) == begun[1:]


def test_the_open_jobs_of_one_that_has_ended_are_closed_by_the_next(sidecars: Sidecars) -> None:
    here = sidecars()
    gateway_of(here).master.silent = {"minion-2"}
    jid = post(here, "").json()["jid"]
    here.process.stop()
    there = sidecars()
    there.process.jobs.start()
    for _ in range(2):
        # Once may be before the job is followed again: then the second one counts.
        get(there, f"/{jid}?wait=2")
        gateway_of(there).hub.deliver(returned(jid, "minion-2"))
    answer = get(there, f"/{jid}?wait=60")

    assert (answer.status, answer.json()["status"], answer.json()["counts"]) == (200, "succeeded", {"ok": 2})


@pytest.mark.parametrize("how", ["looks", "waits", "follows"])
def test_a_job_that_is_followed_without_a_token_goes_on_at_the_sidecar_that_its_owner_is_at(sidecars: Sidecars, how: str) -> None:
    first, here, there = sidecars(), sidecars(), sidecars()
    gateway_of(first).master.silent = {"minion-2"}
    jid = post(first, "", timeout=1).json()["jid"]
    owner = threading.Thread(target=lambda: get(there, f"/{jid}?wait=60") if how == "waits" else follow(there, jid))
    if how != "looks":
        owner.start()
    first.process.stop()
    here.process.jobs.start()
    jobs, watched = (api.process.jobs.submissions() for api in (here, there))
    while not (found := jobs.store.job(jid)) or not (found.without_token or watched.running.watched.get(jid)):
        pass
    if how == "looks":
        get(there, f"/{jid}")
    while watched.running.watched.get(jid) is None:
        pass
    gateway_of(there).hub.deliver(returned(jid, "minion-2"))
    answer = get(here, f"/{jid}?wait=60")

    assert (answer.status, answer.json()["status"], answer.json()["counts"]) == (200, "succeeded", {"ok": 2})
    if how != "looks":
        owner.join()


def test_a_server_that_is_away_is_503_and_everything_else_works(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    api = fake_api(tmp_path, SIDECAR_JOBS_STORE="postgresql://nobody@127.0.0.1:1/jobs")

    for answer in (post(api), get(api, ""), get(api, "/1")):
        assert problem(answer) == (503, "StorageUnavailable")
        assert "connection to server at" in answer.json()["detail"]
        assert "retry-after" in answer.headers
    assert api.value(client="local", tgt="minion-1", fun="test.ping") == {"minion-1": True}
    api.process.metrics.exposition()
    api.process.stop()
