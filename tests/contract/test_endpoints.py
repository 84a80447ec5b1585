"""The URLs of rest_cherrypy around commands: shapes, statuses and headers."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from service.demo.embedded import PATIENCE_SECONDS, until
from tests.caller import Response
from tests.contract.conftest import Api, fake_api
from tests.fakes import FakeGateway

FORM = "application/x-www-form-urlencoded"
PING = {"client": "local", "tgt": "*", "fun": "test.ping"}


@pytest.fixture
def token(api: Api) -> str:
    made: str = api.caller.post(api.demo, "/login").json()["return"][0]["token"]
    return made


def get(api: Api, path: str, token: str, **headers: str) -> Any:
    answer = api.caller.get(path, x_auth_token=token, **headers)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_run_takes_a_form_with_typed_arguments(api: Api) -> None:
    fields = [*api.demo.items(), ("client", "local"), ("tgt", "minion-1"), ("fun", "test.arg"), ("arg", "1234"), ("arg", "a b")]
    answer = api.caller.request("POST", "/run", urlencode(fields).encode(), content_type=FORM + ";charset=utf-8", content_encoding="UTF-8")

    assert answer.json()["return"][0]["minion-1"]["args"] == [1234, "a b"]


def test_run_answers_nothing_beside_return(api: Api, token: str) -> None:
    assert list(api.caller.post({**api.demo, **PING}, "/run").json()) == ["return"]
    assert list(api.caller.post(PING, "/", x_auth_token=token).json()) == ["return"]


@pytest.mark.parametrize("path", ["/run", "/token"])
def test_get_where_only_post_is_meant_is_not_allowed(api: Api, path: str) -> None:
    assert api.caller.get(path).status == 405


def test_minions_are_asked_for_their_grains(api: Api, token: str) -> None:
    (every,) = get(api, "/minions", token)["return"]
    (one,) = get(api, "/minions/minion-1", token)["return"]
    (none,) = get(api, "/minions/nobody", token)["return"]

    assert sorted(every) == ["minion-1", "minion-2"]
    assert list(one) == ["minion-1"]
    assert "os" in one["minion-1"]
    assert none == {}


def test_a_get_with_a_body_and_a_content_type_is_a_get(api: Api, token: str) -> None:
    answer = api.caller.request("GET", "/minions/minion-1", b"null", content_type="application/json", x_auth_token=token)

    assert answer.status == 200
    assert list(answer.json()["return"][0]) == ["minion-1"]


@pytest.mark.parametrize("body", [{"tgt": "*", "fun": "test.ping"}, [{"tgt": "*", "fun": "test.ping", "client": "runner"}]])
def test_a_job_started_by_post_minions_is_accepted_with_a_link(api: Api, token: str, body: object) -> None:
    answer = api.caller.post(body, "/minions", x_auth_token=token)

    (job,) = answer.json()["return"]
    assert answer.status == 202
    assert list(answer.json()) == ["return", "_links"]
    assert sorted(job["minions"]) == ["minion-1", "minion-2"]
    assert answer.json()["_links"] == {"jobs": [{"href": f"/jobs/{job['jid']}"}]}


def test_post_minions_takes_several_lows_and_forms(api: Api, token: str) -> None:
    several = api.caller.post([{"tgt": "*", "fun": "test.ping"}, {"tgt": "nobody", "fun": "test.ping"}], "/minions", x_auth_token=token)
    form = api.caller.request("POST", "/minions", b"tgt=*&fun=test.ping", content_type=FORM, x_auth_token=token)

    assert [bool(job) for job in several.json()["return"]] == [True, False]
    assert len(several.json()["_links"]["jobs"]) == 1
    assert form.status == 202


@pytest.mark.parametrize("body", [b"", b"null", b'"x"', b"[]", b"[1]", b"1"])
def test_post_minions_needs_a_lowstate(api: Api, token: str, body: bytes) -> None:
    assert api.caller.request("POST", "/minions", body, content_type="application/json", x_auth_token=token).status == 400


def test_whoever_still_reaches_a_stopping_sidecar_is_served(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    api.process.health.drain()

    assert api.run(**PING).status == 200


def test_post_minions_without_a_match_has_no_link(api: Api, token: str) -> None:
    answer = api.caller.post({"tgt": "nobody", "fun": "test.ping"}, "/minions", x_auth_token=token)

    assert (answer.status, answer.json()) == (202, {"return": [{}], "_links": {"jobs": []}})


def started(api: Api, token: str) -> str:
    answer = api.caller.post({"tgt": "minion-1", "fun": "test.echo", "arg": ["hello"]}, "/minions", x_auth_token=token)
    jid: str = answer.json()["return"][0]["jid"]
    return jid


def finished(api: Api, token: str) -> tuple[str, Any]:
    jid = started(api, token)
    found: Any = None
    for _ in until(PATIENCE_SECONDS):  # a real minion takes its time; each look-up is a runner of its own
        found = get(api, f"/jobs/{jid}", token)
        if found["return"] != [{}]:
            break
    return jid, found


def test_a_job_is_shown_with_lists_at_the_top(api: Api, token: str) -> None:
    jid, found = finished(api, token)

    (info,) = found["info"]
    assert list(found) == ["info", "return"]
    assert found["return"] == [{"minion-1": "hello"}]
    assert (info["jid"], info["Function"], info["Target"]) == (jid, "test.echo", "minion-1")
    assert isinstance(info["Minions"], list)
    assert info["Result"]["minion-1"]["return"] == "hello"


@pytest.mark.parametrize("jid", ["20990101000000000000", "nonsense", "1", "..", "a b", "%2e%2e", "ä" * 300])
def test_a_job_that_is_not_known_has_an_error_in_its_info(api: Api, token: str, jid: str) -> None:
    found = get(api, f"/jobs/{jid}".encode().decode("latin-1"), token)

    (info,) = found["info"]
    assert "Error" in info
    assert found["return"] == [{}]


def test_jobs_are_listed_by_jid(api: Api, token: str) -> None:
    jid = started(api, token)
    (jobs,) = get(api, "/jobs", token)["return"]

    assert {"Function", "Arguments", "Target", "Target-type", "User", "StartTime"} <= set(jobs[jid])
    assert ", " in jobs[jid]["StartTime"]


def test_keys_are_an_object(api: Api, token: str) -> None:
    keys = get(api, "/keys", token)["return"]

    assert {"minion-1", "minion-2"} <= set(keys["minions"])
    assert {"minions_pre", "minions_rejected", "minions_denied"} <= set(keys)


def test_a_key_is_its_fingerprint(api: Api, token: str) -> None:
    found = get(api, "/keys/minion-1", token)["return"]

    assert list(found) == ["minions"]
    assert len(found["minions"]["minion-1"].split(":")) == 32
    assert get(api, "/keys/nobody", token)["return"] == {}


def unpacked(answer: Response) -> dict[str, bytes]:
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]


@pytest.fixture
def fresh(api: Api) -> Iterator[str]:
    """Name a minion that may get a key; the master forgets it afterwards, or every later job would wait for it."""
    yield "fresh"
    api.run(client="wheel", fun="key.delete", match="fresh")


@pytest.mark.parametrize("accept", ["application/json", "application/x-tar", "*/*", "text/html"])
def test_new_keys_come_as_a_tar_whatever_is_accepted(api: Api, fresh: str, accept: str) -> None:
    answer = api.caller.post({**api.demo, "mid": fresh, "keysize": "2048"}, "/keys", accept=accept)

    files = unpacked(answer)
    assert list(files) == ["minion.pub", "minion.pem"]
    assert files["minion.pub"].startswith(b"-----BEGIN ")
    assert b"PRIVATE KEY" in files["minion.pem"]
    assert answer.headers["content-disposition"] == 'attachment; filename="saltkeys-fresh.tar"'


def test_new_keys_come_for_a_form_too(api: Api, fresh: str) -> None:
    body = urlencode({**api.demo, "mid": fresh, "force": "true"}).encode()

    assert list(unpacked(api.caller.request("POST", "/keys", body, content_type=FORM))) == ["minion.pub", "minion.pem"]


def test_a_key_that_exists_is_not_replaced_unless_forced(api: Api) -> None:
    answer = api.caller.post({**api.demo, "mid": "minion-1"}, "/keys")

    assert answer.status == 409
    assert answer.json()["return"].startswith("409: a key of this name is accepted already")


@pytest.mark.parametrize("mid", [None, "", ".", "..", "../x", "a/b", "a\\b", "a\nb", "a\x00b", "\u0085", "ä", "x_y", ".x", "x.", 'x"; a=b', 5, [], "x" * 300])
def test_a_name_that_is_none_makes_no_key(api: Api, mid: object) -> None:
    assert api.caller.post({**api.demo, "mid": mid}, "/keys").status == 400


@pytest.mark.parametrize("wrong", [{"keysize": "big"}, {"keysize": 10**9}, {"keysize": []}, {"keysize": True}])
def test_a_key_size_that_is_none_is_a_bad_request(api: Api, wrong: dict[str, Any]) -> None:
    assert api.caller.post({**api.demo, "mid": "sized", **wrong}, "/keys").status == 400


@pytest.mark.parametrize(
    "more", [{"keysize": 16}, {"keysize": "16", "force": "no"}, {"arg": ["other"], "kwarg": {"id_": "other"}, "full_return": True, "fun": "key.delete"}]
)
def test_only_what_keys_needs_is_taken_from_the_body(api: Api, fresh: str, more: dict[str, Any]) -> None:
    assert list(unpacked(api.caller.post([{**api.demo, "mid": fresh, **more}], "/keys"))) == ["minion.pub", "minion.pem"]


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"[1]", b'"x"', b"[{}, {}]"])
def test_a_body_that_asks_for_no_key_is_a_bad_request(api: Api, body: bytes) -> None:
    assert api.caller.request("POST", "/keys", body, content_type="application/json").status == 400


def test_a_master_that_makes_no_key_is_not_the_callers_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = fake_api(tmp_path)
    assert isinstance(api.process.gateway, FakeGateway)
    monkeypatch.setattr(api.process.gateway.master, "gen_accept", lambda _load: "Exception occurred in wheel key.gen_accept")

    assert api.caller.post({**api.demo, "mid": "fresh"}, "/keys").status == 500


def test_new_keys_need_credentials_in_the_body(api: Api, token: str) -> None:
    assert api.caller.post({"mid": "sneaked"}, "/keys", x_auth_token=token).status == 401


def test_stats_may_be_open(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text("stats: {require_login: false}")

    assert fake_api(tmp_path).caller.get("/stats").status == 200


def test_stats_has_the_servers_figures_under_both_names(api: Api, token: str) -> None:
    stats = get(api, "/stats", token)

    assert set(stats) == {"CherryPy Applications", "Cheroot HTTPServer 1", "CherryPy HTTPServer 1"}
    assert stats["CherryPy Applications"]["Total Requests"] >= 1
    assert stats["Cheroot HTTPServer 1"]["Requests"] >= 1


@pytest.mark.parametrize("path", ["/minions", "/minions/minion-1", "/jobs", "/jobs/20990101000000000000", "/keys", "/keys/minion-1", "/stats"])
def test_a_session_by_cookie_reads_everything(api: Api, token: str, path: str) -> None:
    answer = api.caller.get(path, cookie=f"session_id={token}")

    assert answer.status == 200
    assert answer.headers["cache-control"] == "private"
