"""Every client, and who may use it."""

from __future__ import annotations

import pytest

from service.clients import CLIENTS
from tests.contract.conftest import Api

LOWS: dict[str, dict[str, object]] = {
    **{client: {"client": client, "tgt": "minion-1", "fun": "test.echo", "arg": ["x"]} for client in ("local", "local_async", "local_subset", "local_batch")},
    **{client: {"client": client, "fun": "test.arg", "arg": ["x"]} for client in ("runner", "runner_async")},
    **{client: {"client": client, "fun": "key.list_all"} for client in ("wheel", "wheel_async")},
    "ssh": {"client": "ssh", "tgt": "edge-1", "fun": "test.ping"},
}


def test_there_is_a_low_for_every_client() -> None:
    assert set(LOWS) == set(CLIENTS)


def test_local_answers_by_minion(api: Api) -> None:
    assert api.value(**LOWS["local"]) == {"minion-1": "x"}


def test_full_return_tells_jid_and_retcode(api: Api) -> None:
    value = api.value(**LOWS["local"], full_return=True)

    assert value["minion-1"]["ret"] == "x"
    assert value["minion-1"]["retcode"] == 0
    assert len(value["minion-1"]["jid"]) == 20


def test_local_async_answers_the_job(api: Api) -> None:
    value = api.value(**LOWS["local_async"])

    assert value["minions"] == ["minion-1"]
    assert len(value["jid"]) == 20


def test_local_subset_runs_on_so_many(api: Api) -> None:
    value = api.value(client="local_subset", tgt="*", fun="test.echo", arg=["x"], sub=1)

    assert list(value.values()) == ["x"]


def test_local_batch_gives_one_element_for_each_return(api: Api) -> None:
    answer = api.run(client="local_batch", tgt="*", fun="test.echo", arg=["x"], batch="50%")

    assert answer.status == 200
    assert sorted(answer.json()["return"], key=str) == [{"minion-1": "x"}, {"minion-2": "x"}]


def test_runner_answers_what_the_function_returned(api: Api) -> None:
    assert api.value(client="runner", fun="test.arg", arg=["a"], kwarg={"b": 1}) == {"args": ["a"], "kwargs": {"b": 1}}


def test_runner_async_answers_where_the_return_will_be(api: Api) -> None:
    value = api.value(**LOWS["runner_async"])

    assert value == {"jid": value["jid"], "tag": f"salt/run/{value['jid']}"}


def test_wheel_answers_tag_and_data(api: Api) -> None:
    value = api.value(**LOWS["wheel"], arg=[])

    assert sorted(value["data"]["return"]["minions"]) == ["minion-1", "minion-2"]
    assert value["data"]["success"] is True
    assert value["tag"] == f"salt/wheel/{value['data']['jid']}"


def test_wheel_async_answers_tag_and_jid(api: Api) -> None:
    value = api.value(**LOWS["wheel_async"])

    assert value["tag"] == f"salt/wheel/{value['jid']}"


def test_a_target_without_a_match_is_no_error(api: Api) -> None:
    assert api.value(client="local", tgt="nobody", fun="test.ping") == {}
    assert api.value(client="local_async", tgt="nobody", fun="test.ping") == {}
    assert api.value(client="local_subset", tgt="nobody", fun="test.ping") == {}
    assert api.run(client="local_batch", tgt="nobody", fun="test.ping").json() == {"return": []}


def test_compound_functions_answer_by_function(api: Api) -> None:
    value = api.value(client="local", tgt="minion-1", fun=["test.ping", "test.echo"], arg=[[], ["x"]])

    assert value == {"minion-1": {"test.ping": True, "test.echo": "x"}}


def test_expr_form_is_understood(api: Api) -> None:
    assert api.value(client="local", tgt="minion-1,minion-2", expr_form="list", fun="test.ping") == {"minion-1": True, "minion-2": True}


def test_a_target_that_the_master_does_not_know_is_named_with_the_jid(api: Api) -> None:
    value = api.value(client="local", tgt=["minion-1", "stranger"], tgt_type="list", fun="test.ping")

    assert value["minion-1"] is True
    assert value["stranger"].startswith("Minion did not return. [No response]")
    assert "salt-run jobs.lookup_jid 20" in value["stranger"]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_wrong_password_is_refused_by_every_client(api: Api, client: str) -> None:
    answer = api.caller.post([{**api.demo, **LOWS[client], "password": "CANARY-wrong"}])

    assert answer.status in {401, 429}
    assert b"CANARY" not in answer.body
    assert answer.json()["return"].startswith(str(answer.status))


@pytest.mark.parametrize("client", CLIENTS)
def test_a_missing_right_is_refused_by_every_client(api: Api, client: str) -> None:
    answer = api.caller.post([{**api.pinger, **LOWS[client]}])

    assert answer.status in {401, 429}


@pytest.mark.parametrize("client", CLIENTS)
def test_no_credentials_are_refused_by_every_client(api: Api, client: str) -> None:
    answer = api.caller.post([LOWS[client]])

    assert answer.status == 401
    assert answer.json()["return"] == "401: No authentication credentials given"


@pytest.mark.costly
def test_an_unknown_runner_is_a_bad_request(api: Api) -> None:
    answer = api.run(client="runner", fun="nope.nope")

    assert answer.status == 400
    assert answer.json()["return"] == "400: 'nope.nope' is not available."


def test_an_unknown_minion_function_is_the_minions_answer(api: Api) -> None:
    assert api.value(client="local", tgt="minion-1", fun="nope.nope") == {"minion-1": "'nope.nope' is not available."}
