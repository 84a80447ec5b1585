"""Bad input: a clear JSON error, never a 500, and nothing half done."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Api

PING: dict[str, Any] = {"client": "local", "tgt": "minion-1", "fun": "test.ping"}


@pytest.fixture
def token(api: Api) -> str:
    """A session of demo's."""
    return str(api.caller.post(api.demo, "/login").json()["return"][0]["token"])


@pytest.mark.parametrize(
    "body",
    [b"{", b"nul", b"NaN", b'[{"client": NaN}]', b"\xff\xfe", b'{"client": "\xc3\x28"}', b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000,
     b'{"a":' * 100_000 + b"1" + b"}" * 100_000],
    ids=lambda body: f"{len(body)}:{body[:12]!r}",
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_a_bad_request(api: Api, body: bytes) -> None:
    answer = api.caller.request("POST", "/", body, content_type="application/json")

    assert answer.status == 400
    assert answer.json()["return"].startswith("400: ")


@pytest.mark.parametrize(
    "body", [b"", b'"text"', b"1", b"true", b"null", b"[1]", b'["x"]', b"[[]]", b"[null]", b"[]", b"{}", b'{"client": "ssh"}', b'[{"fun": 5}]', b'[{"password": "x"}]']
)  # fmt: skip
def test_a_body_that_is_no_lowstate_is_a_bad_request_in_a_session_and_without_one_unauthenticated(api: Api, token: str, body: bytes) -> None:
    inside = api.caller.request("POST", "/", body, content_type="application/json", x_auth_token=token)
    outside = api.caller.request("POST", "/", body, content_type="application/json")

    assert (inside.status, outside.status) == (400, 401)
    assert inside.json()["return"].startswith("400: ")
    assert outside.json()["return"] == "401: No authentication credentials given"


@pytest.mark.parametrize("form", [b"", b"{}", b"client=local&fun=test.ping&tgt=*"])
def test_a_form_without_credentials_is_unauthenticated(api: Api, form: bytes) -> None:
    assert api.caller.request("POST", "/", form, content_type="application/x-www-form-urlencoded").status == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"client": None}, {"client": 1}, {"client": "nope"}, {"client": "destroy"}, {"client": "run"}, {"client": "__init__"}, {"client": "ssh_async"}, {"client": "ssh", "ssh_priv": "x"},
        {"fun": None}, {"fun": 1}, {"fun": ""}, {"fun": []}, {"fun": "test ping"}, {"fun": "../test.ping"}, {"fun": "test..ping"}, {"fun": "x" * 5000},
        {"fun": ["test.ping", 1]}, {"fun": {"a": 1}}, {"fun": ["test.ping", "test.ping"], "arg": [[]]},
        {"tgt": None}, {"tgt": 5}, {"tgt": {}}, {"tgt": ["minion-1"]}, {"tgt": [1], "tgt_type": "list"}, {"tgt_type": "nope"}, {"tgt_type": 1}, {"tgt_type": []},
        {"tgt": "nope", "tgt_type": "nodegroup"}, {"tgt": "N@nope", "tgt_type": "compound"},
        {"kwarg": "x"}, {"kwarg": [1]}, {"metadata": "x"}, {"ret": 1}, {"full_return": "maybe"}, {"jid": 5}, {"jid": "../x"}, {"jid": "1"},
        {"timeout": "x"}, {"timeout": -1}, {"timeout": []}, {"timeout": True}, {"timeout": 1e300}, {"gather_job_timeout": "x"},
        {"client": "local_batch", "batch": "x"}, {"client": "local_batch", "batch": 0}, {"client": "local_batch", "batch": "0%"},
        {"client": "local_batch", "batch_wait": "x"}, {"client": "local_batch", "failhard": 2},
        {"client": "local_subset", "sub": 0}, {"client": "local_subset", "sub": "x"}, {"client": "local_subset", "subset": -1},
        {"client": "runner", "kwarg": [1]}, {"client": "wheel", "kwarg": 1}, {"client": "runner", "fun": ["a.b"]},
        {"username": 1}, {"password": {}}, {"eauth": []},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_field_is_a_bad_request(api: Api, wrong: dict[str, Any]) -> None:
    answer = api.caller.post([{**api.demo, **PING, **wrong}])

    assert answer.status == 400, answer.body
    assert answer.json()["return"].startswith("400: ")


@pytest.mark.parametrize("token", ["../../etc/passwd", "not hex", "", 5, [], {}, "a" * 1_000_000, "abc\x00", "ä" * 64], ids=lambda token: repr(token)[:20])
def test_a_token_that_is_none_is_unauthenticated(api: Api, token: object) -> None:
    answer = api.caller.post([{**PING, "token": token}])

    assert answer.status == 401


@pytest.mark.parametrize("names", [b"1: x", b"~: x", b"[1, 2]: x", b"kwarg: {1: 2}", b"kwarg: {~: 1}"])
@pytest.mark.parametrize("client", ["local_async", "runner_async", "wheel"])
def test_names_that_are_no_strings_are_a_bad_request(api: Api, client: str, names: bytes) -> None:
    low = "".join(f"{name}: {value}\n" for name, value in {**api.demo, "client": client, "tgt": "minion-1", "fun": "test.ping"}.items())
    answer = api.caller.request("POST", "/run", low.encode() + names, content_type="application/x-yaml")

    assert answer.status == 400


@pytest.mark.parametrize("number", ["0x" + "f" * 6_000, "9" * 6_000, "1" + ":59" * 3_000])
@pytest.mark.parametrize(("content_type", "line"), [("application/x-yaml", "{}: {}\n"), ("application/x-www-form-urlencoded", "{}={}&")])
@pytest.mark.parametrize("field", ["batch", "timeout", "batch_wait", "jid"])
def test_a_number_of_thousands_of_digits_is_a_bad_request(api: Api, field: str, content_type: str, line: str, number: str) -> None:
    low = {**api.demo, "client": "local_batch", "tgt": "minion-1", "fun": "test.ping", field: number}
    answer = api.caller.request("POST", "/run", "".join(line.format(*pair) for pair in low.items()).encode(), content_type=content_type)

    assert answer.status == 400, answer.body


@pytest.mark.costly
def test_too_many_lows_are_refused(api: Api) -> None:
    answer = api.caller.post([{**api.demo, **PING}] * 10_000)

    assert answer.status == 400
    assert "10000 lows" in answer.json()["return"]


def test_nothing_runs_when_a_later_low_is_wrong(api: Api) -> None:
    answer = api.caller.post([{**api.demo, **PING}, {**api.demo, **PING, "fun": None}])

    assert answer.status == 400
    assert "low 1" in answer.json()["return"]
    assert "completed" not in answer.json()


def test_a_low_that_fails_later_leaves_the_earlier_results_and_jids(api: Api) -> None:
    answer = api.caller.post(
        [{**api.demo, **PING}, {**api.demo, "client": "local_async", "tgt": "*", "fun": "test.ping"}, {**api.pinger, **PING, "fun": "test.echo"}]
    )

    body = answer.json()
    assert answer.status == 401
    assert body["completed"][0] == {"minion-1": True}
    assert body["jids"][1] == body["completed"][1]["jid"]
    assert len(body["jids"]) == 2
