"""A right that is missing is no failed login: it costs nothing, locks nobody out, and is counted as what it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.contract.conftest import Api, fake_api

BURST = 3
LOWS: Mapping[str, dict[str, object]] = {
    "local": {"tgt": "*", "fun": "test.echo", "arg": ["x"]},
    "local_async": {"tgt": "*", "fun": "test.echo", "arg": ["x"]},
    "local_batch": {"tgt": "*", "fun": "test.echo", "arg": ["x"]},
    "runner": {"fun": "jobs.list_jobs"},
    "runner_async": {"fun": "jobs.list_jobs"},
    "wheel": {"fun": "key.list_all"},
    "wheel_async": {"fun": "key.list_all"},
}


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return fake_api(tmp_path, SIDECAR_LIMITS_AUTH_FAILURES_BURST=str(BURST))


def counted(api: Api, eauth: str, result: str) -> float:
    return api.process.metrics.value("salt_api_auth_attempts_total", eauth=eauth, result=result) or 0.0


def credentials_of(api: Api, how: str) -> dict[str, str]:
    """Return what pinger, who may only test.ping, shows; a token was made elsewhere."""
    if how == "inline":
        return api.pinger
    return {"token": api.process.gateway.runner.tokens.mk_token(api.pinger)["token"]}


@pytest.mark.parametrize("how", ["inline", "token"])
@pytest.mark.parametrize("client", LOWS)
@pytest.mark.slow
def test_a_missing_right_is_neither_charged_nor_counted_as_a_failed_login(api: Api, client: str, how: str) -> None:
    credentials = credentials_of(api, how)
    eauth = "token" if how == "token" else credentials["eauth"]
    answers = [api.caller.post([{**credentials, **LOWS[client], "client": client}]) for _ in range(2 * BURST)]

    assert [answer.status for answer in answers] == [401] * 2 * BURST
    assert (counted(api, eauth, "forbidden"), counted(api, eauth, "bad_credentials")) == (2 * BURST, 0)
    assert api.run(client="local", tgt="*", fun="test.ping").status == 200  # a neighbour that is not proven


@pytest.mark.slow
@pytest.mark.parametrize("how", ["inline", "token"])
@pytest.mark.parametrize("client", LOWS)
def test_bad_credentials_are_charged_whatever_right_would_be_missing_too(api: Api, client: str, how: str) -> None:
    guesses = [{**api.pinger, "password": f"guess-{number}"} if how == "inline" else {"token": f"{number:064x}"} for number in range(2 * BURST)]
    answers = [api.caller.post([{**guess, **LOWS[client], "client": client}]) for guess in guesses]

    assert [answer.status for answer in answers] == [401] * BURST + [429] * BURST
    assert counted(api, "token" if how == "token" else "sharedsecret", "bad_credentials") == BURST
