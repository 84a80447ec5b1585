"""`jobs.readers`: who reads everybody's jobs under /v1, and changes none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.conftest import Api, a_store, fake_api, login
from tests.contract.test_v1_jobs import gateway_of, get, post, problem

READS = ("", "/log", "/junit", "/events", "/minions/minion-1")


@pytest.fixture(params=["sharedsecret:pinger", "pinger"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    """The application of which pinger is a reader."""
    made = fake_api(tmp_path, **a_store(tmp_path), SIDECAR_JOBS_READERS=request.param)
    yield made
    made.process.stop()


@pytest.mark.costly
def test_a_reader_reads_everybodys_jobs(read: Api) -> None:
    jid, token = post(read, fun="test.echo", arg=["x"]).json()["jid"], login(read, read.pinger)
    own = read.caller.post({"tgt": "*", "fun": "test.ping"}, "/v1/jobs?wait=30", x_auth_token=token).json()

    assert [read.caller.get(f"/v1/jobs/{jid}{path}", x_auth_token=token).status for path in READS] == [200] * len(READS)
    for query, found in (("", [own["jid"]]), ("?owner=*", [own["jid"], jid]), ("?owner=sharedsecret:demo", [jid]), ("?owner=file:demo", [])):
        assert [job["jid"] for job in read.caller.get(f"/v1/jobs{query}", x_auth_token=token).json()["jobs"]] == found
    assert read.caller.get(f"/v1/jobs/{jid}", x_auth_token=token).json()["owner"] == "sharedsecret:demo"


def test_a_reader_changes_nothing(read: Api) -> None:
    gateway_of(read).master.silent = {"minion-2"}
    jid, token = post(read, "").json()["jid"], login(read, read.pinger)
    ended = read.caller.request("DELETE", f"/v1/jobs/{jid}", b"", x_auth_token=token)
    again = read.caller.post({"minions": ["minion-1"]}, f"/v1/jobs/{jid}/relaunch", x_auth_token=token)

    assert (problem(ended), problem(again)) == ((404, "NoSuchJob"),) * 2
    assert get(read, f"/{jid}").json()["status"] == "running"
    assert not [load for load in gateway_of(read).master.loads if load.get("fun") == "saltutil.term_job"]


@pytest.mark.costly
def test_who_is_no_reader_has_their_own_jobs_only(tmp_path: Path) -> None:
    api = fake_api(tmp_path, **a_store(tmp_path), SIDECAR_JOBS_READERS="file:pinger")
    jid, token = post(api).json()["jid"], login(api, api.pinger)

    for path in READS:
        assert problem(api.caller.get(f"/v1/jobs/{jid}{path}", x_auth_token=token)) == (404, "NoSuchJob")
    for query in ("?owner=*", "?owner=sharedsecret:demo"):
        assert problem(api.caller.get(f"/v1/jobs{query}", x_auth_token=token)) == (403, "Forbidden")
    assert api.caller.get("/v1/jobs?owner=sharedsecret:pinger", x_auth_token=token).json()["jobs"] == []
    assert [job["jid"] for job in get(api, "?owner=*").json()["jobs"]] == [jid]
    api.process.stop()
