"""Redaction: no credential survives under a secret key, and what operators need stays readable."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.observe import redact

CANARY = "CANARY-c0ffee"
SECRET_KEYS = (
    "key", "password", "passwd", "sharedsecret", "secret", "token", "authorization", "Authorization", "cookie", "Set-Cookie", "priv", "priv_key", "private",
    "salt_token", "client_secret", "db_password", "rsa_key", "X-Auth-Token", "PASSWORD", "http.header.authorization", "tokens", "apikey", "session_id",
)  # fmt: skip
PUBLIC_KEYS = (
    "auth.session", "auth.eauth", "salt.jid", "salt.fun", "salt.tgt_hash", "user.name", "keys", "monkey", "keyboard", "request_id", "username", "tokenizer",
    "token_expire", "first_return_s", "url.path",
)  # fmt: skip

plain = st.none() | st.booleans() | st.integers() | st.text(max_size=5).filter(lambda text: "CANARY" not in text)
names = st.text(max_size=8)


def nested(secret: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Return values of any depth which hold *secret* somewhere, and only there."""
    return st.recursive(
        secret,
        lambda inner: (
            st.tuples(st.lists(plain, max_size=2), inner).map(lambda pair: [*pair[0], pair[1]])
            | st.tuples(inner, plain)
            | st.dictionaries(names, plain, max_size=2).flatmap(lambda rest: st.tuples(names, inner).map(lambda item: {**rest, item[0]: item[1]}))
        ),
        max_leaves=25,
    )


hidden = st.sampled_from(SECRET_KEYS).flatmap(lambda key: nested(st.just(CANARY)).map(lambda value: {key: value}))


@given(nested(hidden))
@pytest.mark.slow
def test_no_canary_survives_under_a_secret_key_at_any_depth(value: object) -> None:
    redacted = redact.redact(value)

    assert CANARY not in repr(redacted)


@pytest.mark.costly
@given(st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PUBLIC_KEYS), inner, max_size=3), max_leaves=20))
def test_a_value_without_secrets_is_returned_equal(value: object) -> None:
    assert redact.redact(value) == value


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_secret_key_is_known(key: str) -> None:
    assert redact.is_secret(key)


@pytest.mark.parametrize("key", PUBLIC_KEYS)
def test_a_public_key_is_let_through(key: str) -> None:
    assert not redact.is_secret(key)


def test_the_original_is_not_changed() -> None:
    load = {"kwargs": [{"password": CANARY}]}

    redact.redact(load)

    assert load == {"kwargs": [{"password": CANARY}]}


def test_an_absent_secret_stays_visibly_absent() -> None:
    assert redact.redact({"key": "", "token": None}) == {"key": "", "token": None}


def test_a_bytes_key_is_a_key() -> None:
    assert redact.redact({b"password": CANARY}) == {b"password": redact.MASK}


def test_the_fields_of_a_dataclass_are_redacted() -> None:
    @dataclasses.dataclass
    class Login:
        user: str
        password: str

    assert redact.redact([Login("ann", CANARY)]) == [{"user": "ann", "password": redact.MASK}]


def test_a_value_deeper_than_the_limit_is_cut() -> None:
    value: object = {"password": CANARY}
    for _ in range(redact.MAX_DEPTH + 1):
        value = [value]

    redacted = redact.redact(value)

    assert CANARY not in repr(redacted)
    assert redact.CUT in repr(redacted)


def test_a_cycle_ends() -> None:
    value: list[object] = []
    value += [value, value, value]

    assert redact.CUT in repr(redact.redact(value))


@pytest.mark.parametrize(
    "text",
    [
        f"{{'user': 'ann', 'password': '{CANARY}'}}",
        f'{{"token": "{CANARY}"}}',
        f"login with password={CANARY} failed",
        f"Authorization: Bearer {CANARY}",
        f"Authorization: Basic {CANARY}",
        f"{{b'key': b'{CANARY}'}}",
        f"{{'priv_key': '{CANARY}, cut in the mid",
        f"sharedsecret: {CANARY}, eauth: pam",
        f"{'a' * 50}_key={CANARY}",
        f"{'a' * 50}_password_of_{'b' * 30}={CANARY}",
    ],
)
def test_a_pair_inside_a_text_is_masked(text: str) -> None:
    assert CANARY not in redact.redact_text(text)


@pytest.mark.parametrize("text", ["the monkey: brown", "Function test.ping is running", "keyboard: us", "no token", "http://host/path?x=1"])
def test_a_text_without_a_pair_is_unchanged(text: str) -> None:
    assert redact.redact_text(text) == text


def test_messages_of_a_log_event_are_searched_for_pairs() -> None:
    event = redact.redact({"event": "log", "message": f"token={CANARY}", "stack": {"exc_value": f"password: {CANARY}"}})

    assert CANARY not in repr(event)
