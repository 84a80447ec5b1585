"""Low: what a lowstate may hold, and what is said about one that holds something else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.clients import BY_DEFAULT, CLIENTS, Client
from service.errors import BadRequest, ClientDisabled, Unauthenticated
from service.gateway.low import CREDENTIAL_FIELDS, Low, parse_lowstate
from service.gateway.low_fields import SHAPES, TARGET_TYPES

TOKEN = "0123456789abcdef" * 4
PING = {"client": "local", "tgt": "*", "fun": "test.ping", "token": TOKEN}
RUNNER = {"client": "runner", "fun": "jobs.active", "token": TOKEN}
WHEEL = {"client": "wheel", "fun": "key.list_all", "token": TOKEN}


def parse(body: object, most: int = 3) -> list[Low]:
    return parse_lowstate(body, enabled=CLIENTS, most=most)


def one(base: dict[str, Any] = PING, /, **fields: Any) -> Low:
    (low,) = parse([{**base, **fields}])
    return low


def test_a_lowstate_may_be_one_bare_low() -> None:
    (low,) = parse(PING)

    assert (low.client, low.fun, low.fields["tgt"]) == ("local", "test.ping", "*")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "not null"),
        (True, "not a boolean"),
        (5, "not a number"),
        (0.5, "not a number"),
        ("local", "not a string"),
        ((), "not something else"),
        ([], "empty"),
        ([PING] * 4, "the most is 3"),
        ([PING] * 10_000, "10000 lows"),
        ([PING, 7], "low 1: a low is an object, not a number"),
        ([PING, [PING]], "low 1: a low is an object, not a list"),
    ],
)
def test_a_lowstate_is_a_short_list_of_objects(body: object, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        parse(body)


@pytest.mark.parametrize("name", ["client", "fun", "tgt"])
def test_a_missing_field_is_named_with_the_index_of_its_low(name: str) -> None:
    broken = {key: value for key, value in PING.items() if key != name}

    with pytest.raises(BadRequest, match=f"^low 1: {name} is missing") as caught:
        parse([PING, broken])

    assert caught.value.details == {"field": name}


@pytest.mark.parametrize("name", ["client", "fun", "tgt"])
def test_a_null_is_a_missing_field(name: str) -> None:
    with pytest.raises(BadRequest, match=f"^{name} is missing"):
        one(**{name: None})


@pytest.mark.parametrize("client", ["destroy", "run", "__init__", "cmd", "", "LOCAL", 5, [], {}, ["local"], True])
def test_only_the_clients_of_salts_documentation_exist(client: object) -> None:
    with pytest.raises(BadRequest, match="Invalid client specified: '"):
        one(client=client)


def test_ssh_is_refused_with_both_its_switches() -> None:
    with pytest.raises(ClientDisabled, match=r"'ssh'\. Add to 'netapi_enable_clients' .* 'clients\.ssh' must be true as well"):
        parse_lowstate({**PING, "client": "ssh"}, enabled=BY_DEFAULT, most=1)


def test_a_disabled_client_is_refused_in_upstreams_words() -> None:
    with pytest.raises(ClientDisabled) as caught:
        parse_lowstate(RUNNER, enabled=("local",), most=1)

    assert caught.value.reason == "Client disabled: 'runner'. Add to 'netapi_enable_clients' master config option to enable."


@pytest.mark.parametrize(
    "fun",
    [
        "test ping",
        "../etc/passwd",
        "test/ping",
        "test.ping\n",
        "test..ping",
        ".ping",
        "test.",
        "",
        "täst.ping",
        "a" * 1025,
        5,
        True,
        [],
        {},
        [["test.ping"]],
        ["a b"],
    ],
)
def test_a_function_is_a_dotted_name(fun: object) -> None:
    with pytest.raises(BadRequest, match="fun must be a function name") as caught:
        one(fun=fun)

    assert caught.value.details["field"] == "fun"


def test_several_functions_need_a_list_of_arguments_each() -> None:
    low = one(fun=["test.ping", "test.echo"], arg=[[], ["hi"]])

    assert low.fun == ["test.ping", "test.echo"]
    assert low.function_names == "test.ping,test.echo"
    with pytest.raises(BadRequest, match="one list for each of the 2 functions"):
        one(fun=["test.ping", "test.echo"], arg=[[]])


def test_a_runner_runs_one_function() -> None:
    with pytest.raises(BadRequest, match="fun must be a function name"):
        one(RUNNER, fun=["jobs.active", "jobs.list_jobs"])


@pytest.mark.parametrize("token", ["../../etc/passwd", "x" * 64, "", "abc", "a" * 1_000_000, f"{TOKEN}\n", "é" * 64, 5, [], {}, True, [TOKEN]])
def test_a_token_is_a_short_hexadecimal_string(token: object) -> None:
    with pytest.raises(Unauthenticated, match="not a Salt token") as caught:
        one(token=token)

    assert len(caught.value.reason) < 100


def test_a_low_without_credentials_is_refused() -> None:
    with pytest.raises(Unauthenticated, match="No authentication credentials given"):
        parse({"client": "local", "tgt": "*", "fun": "test.ping"})


@pytest.mark.parametrize("name", ["eauth", "username", "password", "sharedsecret"])
@pytest.mark.parametrize("value", [5, True, ["x"], {"x": 1}, 0.5])
def test_credentials_are_strings(name: str, value: object) -> None:
    with pytest.raises(BadRequest, match=f"^{name} must be a string$"):
        one(**{"eauth": "file", "username": "me", "password": "secret", name: value})


def test_credentials_are_what_says_who_asks() -> None:
    low = parse({"client": "local", "tgt": "*", "fun": "test.ping", "eauth": "pam", "username": "me", "password": "secret"})[0]

    assert low.credentials == {"eauth": "pam", "username": "me", "password": "secret"}


def test_a_shared_secret_travels_as_the_password() -> None:
    low = one(token=None, eauth="sharedsecret", username="me", sharedsecret="secret")
    both = one(token=None, eauth="sharedsecret", username="me", sharedsecret="old", password="new")

    assert (low.fields["password"], "sharedsecret" in low.fields) == ("secret", False)
    assert both.fields["password"] == "new"


def test_beside_a_token_no_other_credential_counts() -> None:
    """An eauth module that brings rights of its own would else decide by the name in them, whose password nobody checked."""
    low = one(eauth="rest", username="admin", password="guess", sharedsecret="guess")

    assert low.credentials == {"token": low.fields["token"]}
    assert low.fields.keys().isdisjoint({"eauth", "username", "password", "sharedsecret"})


@pytest.mark.parametrize("name", ["arg", "kwarg"])
def test_a_wheel_has_no_second_set_of_arguments_for_the_masters_check(name: str) -> None:
    with pytest.raises(BadRequest, match="kwarg must have no names arg and kwarg"):
        parse({"client": "wheel", "fun": "key.accept", "token": "ab" * 32, "match": "evil", "kwarg": {name: {"match": "web1"}}})


@pytest.mark.parametrize("tgt_type", ["", "globb", "GLOB", 5, True, [], ["glob"], {}, {"glob": 1}])
@pytest.mark.parametrize("name", ["tgt_type", "expr_form"])
def test_a_target_type_is_one_of_salts(name: str, tgt_type: object) -> None:
    with pytest.raises(BadRequest, match="tgt_type must be one of compound, "):
        one(**{name: tgt_type})


@pytest.mark.parametrize("tgt_type", sorted(TARGET_TYPES))
def test_the_old_name_of_the_target_type_is_understood(tgt_type: str) -> None:
    low = one(expr_form=tgt_type)

    assert low.fields["tgt_type"] == tgt_type
    assert "expr_form" not in low.fields


def test_the_new_name_of_the_target_type_wins() -> None:
    assert one(expr_form="pcre", tgt_type="list").fields["tgt_type"] == "list"
    assert one().fields["tgt_type"] == "glob"


@pytest.mark.parametrize("tgt_type", ["list", "compound"])
def test_a_target_may_be_a_list_of_strings(tgt_type: str) -> None:
    assert one(tgt=["a", "b"], tgt_type=tgt_type).fields["tgt"] == ["a", "b"]


@pytest.mark.parametrize(("tgt", "tgt_type"), [(["a"], "glob"), ([1], "list"), (5, "glob"), ({}, "list"), (True, "glob"), ([["a"]], "compound")])
def test_other_targets_are_refused(tgt: object, tgt_type: str) -> None:
    with pytest.raises(BadRequest, match="tgt must be a string"):
        one(tgt=tgt, tgt_type=tgt_type)


@pytest.mark.parametrize("base", [PING, RUNNER, WHEEL], ids=lambda low: str(low["client"]))
def test_a_bare_argument_is_a_list_of_one(base: dict[str, Any]) -> None:
    assert one(base, arg="minion-*").fields["arg"] == ["minion-*"]
    assert one(base, arg={"a": 1}).fields["arg"] == [{"a": 1}]


def test_the_argument_list_of_a_local_call_defaults_to_none() -> None:
    assert one().fields["arg"] == []


def test_a_wheel_call_carries_no_empty_argument_list() -> None:
    assert "arg" not in one(WHEEL, arg=[]).fields
    assert one(RUNNER, arg=[]).fields["arg"] == []


@pytest.mark.parametrize(
    ("base", "field", "value", "reason"),
    [
        (PING, "kwarg", [1], "kwarg must be an object, not a list"),
        (PING, "metadata", "x", "metadata must be an object, not a string"),
        (PING, "ret", 5, "ret must be a string, not a number"),
        (PING, "ret", ["smtp", 5], "ret must be a string, not a list"),
        (PING, "full_return", "maybe", "full_return must be true or false, not a string"),
        (PING, "failhard", 2, "failhard must be true or false, not a number"),
        (RUNNER, "kwarg", "x", "kwarg must be an object"),
        (WHEEL, "full_return", {}, "full_return must be true or false, not an object"),
    ],
)
def test_a_field_of_the_wrong_type_is_refused(base: dict[str, Any], field: str, value: object, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason) as caught:
        one(base, **{field: value})

    assert caught.value.details["field"] == field


@pytest.mark.parametrize("jid", ["x", "2026", "../20260101000000000000", 5, 0, False, [], {}, ["x"], "\u0661" * 20])
def test_a_jid_is_twenty_digits(jid: object) -> None:
    with pytest.raises(BadRequest, match="jid must be 20 digits"):
        one(jid=jid)


@pytest.mark.parametrize("jid", ["20260101000000000000", "20260101000000000000_12345", ""])
def test_a_jid_of_the_callers_own_is_kept(jid: str) -> None:
    assert one(jid=jid).fields["jid"] == jid


@pytest.mark.parametrize("name", ["sub", "subset"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "x", "", "0", "\u00b2", True, [], {}, "9" * 5000])
def test_a_subset_is_a_count_of_minions(name: str, value: object) -> None:
    with pytest.raises(BadRequest, match=f"{name} must be a whole number above 0"):
        one(client="local_subset", **{name: value})


@pytest.mark.parametrize("value", [2, "2"])
def test_a_count_may_be_written_as_a_string(value: object) -> None:
    assert one(client="local_subset", sub=value).fields["sub"] == 2


@pytest.mark.parametrize("batch", [0, -1, "0%", "0.0%", "x", "%", "1e3", "", True, 1.5, [], {}, "9" * 5000])
def test_a_batch_is_a_count_or_a_share_of_minions(batch: object) -> None:
    with pytest.raises(BadRequest, match="batch must be a number of minions or a percentage"):
        one(client="local_batch", batch=batch)


@pytest.mark.parametrize("batch", [1, "1", "10%", "0.5%", "100%"])
def test_a_sane_batch_is_kept(batch: object) -> None:
    assert one(client="local_batch", batch=batch).fields["batch"] == batch


@pytest.mark.parametrize("name", ["timeout", "gather_job_timeout", "batch_wait"])
@pytest.mark.parametrize("value", [-1, "x", "", "nan", "inf", float("nan"), 86_401, 10**400, True, [], {}])
def test_a_timeout_is_a_number_of_seconds(name: str, value: object) -> None:
    with pytest.raises(BadRequest, match=f"{name} must be a number of seconds from 0 to 86400") as caught:
        one(**{name: value})

    assert caught.value.details["field"] == name


@pytest.mark.parametrize(("value", "seconds"), [(5, 5), (5.0, 5), ("5", 5), (0.5, 0.5), ("0.5", 0.5), (0, 0)])
def test_a_timeout_may_be_written_as_a_string(value: object, seconds: float) -> None:
    assert one(timeout=value).fields["timeout"] == seconds
    assert type(one(timeout=value).fields["timeout"]) is type(seconds)


@pytest.mark.parametrize("name", ["client", "fun", "tgt", "tgt_type", "jid", "sub", "batch", "timeout", "ret", "full_return", "token", "username"])
def test_a_deeply_nested_value_is_refused_like_any_other(name: str) -> None:
    nested: list[Any] = []
    for _ in range(1000):  # as deep as the decoder of bodies lets pass
        nested = [nested]

    with pytest.raises((BadRequest, Unauthenticated)):
        one(**{name: nested})


def test_a_nulled_field_counts_as_not_sent() -> None:
    assert one(ret=None, timeout=None, sub=None).fields == one().fields


def test_synchronous_clients_hold_their_caller() -> None:
    waiting = {client for client in Client if client.slot == "sync_jobs"}

    assert waiting == {"local", "local_subset", "local_batch", "runner", "ssh"}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(["local", "test.ping", "glob", TOKEN, "9" * 4500]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "client", "fun", "tgt", "tgt_type", "expr_form", "arg", "kwarg", "metadata", "ret", "jid", "timeout", "gather_job_timeout", "batch", "batch_wait",
    "sub", "subset", "full_return", "failhard", "eauth", "username", "password", "token", "sharedsecret", "other",
)  # fmt: skip
LOW_LIKE = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6).flatmap(
    lambda given: st.sampled_from([{**base, **given} for base in (PING, RUNNER, WHEEL)])
)
NORMALISED = {"client", "fun", "arg", "tgt_type", "expr_form", "sharedsecret", "password"}.union(*SHAPES.values())


def unchanged(low: Low, sent: dict[str, Any]) -> bool:
    dropped = set(CREDENTIAL_FIELDS) - {"token"} if sent.get("token") is not None else set()
    kept = {name: value for name, value in sent.items() if name not in NORMALISED | dropped and value is not None}
    return repr({name: low.fields.get(name) for name in kept}) == repr(kept)


@pytest.mark.slow
@given(LOW_LIKE | JSON)
def test_any_json_value_is_refused_cleanly_or_kept_as_it_was_sent(body: Any) -> None:
    try:
        lows = parse(body)
    except (BadRequest, Unauthenticated):
        return

    for low, sent in zip(lows, [body] if isinstance(body, dict) else body, strict=True):
        assert low.client == sent["client"]
        assert low.fun == sent["fun"]
        assert unchanged(low, sent)
        assert repr(one({"client": low.client, "fun": low.fun}, **low.fields).fields) == repr(low.fields)  # what we use has one spelling
