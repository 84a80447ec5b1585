"""The keys of an issuer: rotation, floods of unknown ids, an issuer that is away or hostile; each costs a bounded number of fetches."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from service.errors import IdentityRefused, KeysUnavailable
from service.identities.issuer_keys import FRESH_SECONDS, KEEP_SECONDS, MOST_BYTES, PAUSE_SECONDS, FetchedKeys, FileKeys, fetched, keys_of
from service.outgoing.look_ups import LookUps
from tests.issuing import KeyServer, SigningKey, jwks, plain, rsa_key

OLD, NEW = SigningKey("old"), SigningKey("new")


class Away:
    """An issuer in memory. document: None while it cannot be asked."""

    def __init__(self, *keys: SigningKey) -> None:
        self.document: bytes | None = jwks(*keys)
        self.asked = 0
        self.now = 0.0
        self.failures: list[str] = []
        self.during: Callable[[], object] = lambda: None
        self.keys = FetchedKeys(self._fetch, self.failures.append, monotonic=lambda: self.now)

    def _fetch(self) -> bytes:
        self.asked += 1
        self.during()
        if self.document is None:
            raise TimeoutError
        return self.document

    def has(self, kid: str) -> bool | None:
        """Say whether it has a key; None if nobody can say."""
        try:
            self.keys.key(kid)
        except IdentityRefused:
            return False
        except KeysUnavailable:
            return None
        return True


def test_keys_are_fetched_when_they_are_first_needed_and_once() -> None:
    issuer = Away(OLD)

    assert issuer.asked == 0
    assert [issuer.has("old") for _ in range(100)] == [True] * 100
    assert issuer.asked == 1


def test_a_flood_of_unknown_ids_is_one_fetch_a_minute() -> None:
    issuer = Away(OLD)

    assert not any(issuer.has(f"unknown-{number}") for number in range(1000))
    assert issuer.asked == 1
    issuer.now += PAUSE_SECONDS
    assert not any(issuer.has(f"unknown-{number}") for number in range(1000))
    assert (issuer.asked, issuer.has("old")) == (2, True)


def test_a_key_that_is_newer_than_the_last_look_is_not_refused_before_the_next() -> None:
    issuer = Away(OLD)
    assert issuer.has("old")
    issuer.document = jwks(OLD, NEW)

    issuer.now += PAUSE_SECONDS - 1
    assert issuer.has("new") is None
    issuer.now += 1
    assert [issuer.has("new"), issuer.has("unknown")] == [True, False]
    issuer.now += 1
    assert issuer.has("unknown") is None


def test_a_new_key_is_found_and_an_old_one_is_gone_when_the_issuer_withdraws_it() -> None:
    issuer = Away(OLD)
    assert issuer.has("old")
    issuer.now += PAUSE_SECONDS
    issuer.document = jwks(OLD, NEW)

    assert [issuer.has("new"), issuer.has("old")] == [True, True]
    issuer.document = jwks(NEW)
    issuer.now += FRESH_SECONDS
    assert [issuer.has("old"), issuer.has("new")] == [False, True]
    assert issuer.asked == 3


def test_while_the_issuer_is_away_its_keys_stay_good_for_a_day_and_unknown_ones_are_not_refused() -> None:
    issuer = Away(OLD)
    assert issuer.has("old")
    issuer.document = None

    issuer.now = KEEP_SECONDS - 1
    assert [issuer.has("old"), issuer.has("new")] == [True, None]
    issuer.now = KEEP_SECONDS
    assert issuer.has("old") is None
    assert issuer.failures == ["TimeoutError: "]
    issuer.document = jwks(OLD)
    issuer.now += PAUSE_SECONDS
    assert issuer.has("old")


def test_an_issuer_that_was_never_there_is_asked_once_a_minute() -> None:
    issuer = Away(OLD)
    issuer.document = None

    assert {issuer.has("old") for _ in range(100)} == {None}
    assert issuer.asked == 1


def test_while_one_thread_fetches_the_others_wait_for_what_they_lack_and_go_on_with_what_they_have() -> None:
    issuer = Away(OLD)
    assert issuer.has("old")
    issuer.document = jwks(OLD, NEW)
    issuer.now += FRESH_SECONDS
    fetching, go_on = threading.Event(), threading.Event()

    def during() -> None:
        fetching.set()
        go_on.wait(30)

    issuer.during = during
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(issuer.has, "new")
        assert fetching.wait(30)
        assert issuer.has("old")
        others = [threads.submit(issuer.has, "new") for _ in range(3)]
        go_on.set()

        assert [one.result(30) for one in (first, *others)] == [True] * 4
    assert issuer.asked == 2


@pytest.mark.parametrize(
    "document",
    [
        b"", b"{", b"[]", b"null", b"5", b'{"keys": 5}', b'{"keys": {}}', b'{"keys": []}', b'{"keys": [5, null, "x", []]}', b"[" * 100_000,
        b'{"keys": [{"kid": "old"}]}', b'{"keys": [{"kid": "old", "kty": "RSA", "n": 5, "e": []}]}', b'{"keys": [{"kid": "old", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}',
        json.dumps({"keys": [{**OLD.jwk(), "kid": 5}]}).encode(), json.dumps({"keys": [{**OLD.jwk(), "use": "enc"}]}).encode(),
        json.dumps({"keys": [{**OLD.jwk(), "d": "AA"}]}).encode(), json.dumps({"keys": [{**OLD.jwk(), "kty": "oct", "k": "AA"}]}).encode(),
        json.dumps({"keys": [{**OLD.jwk(), "alg": "HS256"}]}).encode(), json.dumps({"keys": [{**OLD.jwk(), "alg": ["ES256"]}]}).encode(),
        json.dumps({"keys": [{**OLD.jwk(), "kid": str(number)} for number in range(101)]}).encode(), jwks(SigningKey("old", rsa_key(1024))),
    ],
)  # fmt: skip
def test_what_is_no_set_of_keys_changes_nothing(document: bytes) -> None:
    issuer = Away(OLD)
    assert issuer.has("old")
    issuer.document = document
    issuer.now += FRESH_SECONDS

    assert issuer.has("old")
    assert len(issuer.failures) == 1
    with pytest.raises(ValueError, match=r"is no JWKS|has no key"):
        keys_of(document)


def test_one_bad_key_does_not_spoil_the_others() -> None:
    keys = [
        {"kty": "RSA", "kid": "bad", "n": "!", "e": "AQAB"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "other"},
        NEW.jwk(),
        {**OLD.jwk(), "kid": "new"},
    ]

    found = keys_of(json.dumps({"keys": keys}).encode())
    assert found.keys() == {"new"}
    assert keys_of(jwks(NEW))["new"].key.public_numbers() == found["new"].key.public_numbers()


def test_a_file_of_keys_is_read_again_when_it_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    keys = FileKeys(file, "identities.issuers.x.jwks_file")
    with pytest.raises(KeysUnavailable):
        keys.key("old")

    file.write_bytes(jwks(OLD))
    assert keys.key("old").key_id == "old"
    (tmp_path / "next").write_bytes(jwks(NEW))
    (tmp_path / "next").replace(file)
    assert keys.key("new").key_id == "new"
    with pytest.raises(IdentityRefused):
        keys.key("old")
    assert FileKeys(tmp_path / "absent", "x").faults()


def slow(request: BaseHTTPRequestHandler) -> None:
    """Send a byte now and then: each wait is short, all together are not."""
    request.send_response(200)
    request.end_headers()
    for _ in range(3000):
        try:
            request.wfile.write(b" ")
            request.wfile.flush()
        except OSError:
            return
        time.sleep(0.02)


def endless_headers(request: BaseHTTPRequestHandler) -> None:
    try:
        request.wfile.write(b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 200_000)
    except OSError:
        return


HOSTILE: dict[str, tuple[Any, str]] = {
    "a redirect": (plain(b"", 302, Location="http://127.0.0.1:1/"), "answered 302"),
    "an error": (plain(b"x", 500), "answered 500"),
    "huge": (plain(b" " * (MOST_BYTES + 1)), "more than"),
    "huge, whatever its length says": (
        lambda request: (request.send_response(200), request.end_headers(), request.wfile.write(b" " * MOST_BYTES * 3)),
        "more than",
    ),
    "endless headers": (endless_headers, "header"),
    "no HTTP": (lambda request: request.wfile.write(b"SSH-2.0-x\r\n\r\n"), "SSH|BadStatusLine|status"),
    "nothing": (lambda request: request.connection.close(), "closed"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_server_of_keys_is_a_failure_within_the_deadline(case: str) -> None:
    answer, said = HOSTILE[case]
    with KeyServer(answer) as server:
        with pytest.raises(Exception, match=said) as caught:
            fetched(server.url, LookUps().addresses)

        assert isinstance(caught.value, OSError | ValueError) or type(caught.value).__module__ == "http.client"
        assert server.asked == ["/jwks"]


@pytest.mark.slow
def test_a_server_that_is_slow_without_an_end_is_cut_at_the_deadline() -> None:
    began = time.monotonic()
    with KeyServer(slow) as server:
        failures: list[str] = []
        keys = FetchedKeys(lambda: fetched(server.url, LookUps().addresses, 0.3), failures.append)
        with pytest.raises(KeysUnavailable):
            keys.key("old")

    assert time.monotonic() - began < 30
    assert len(failures) == 1


def test_keys_come_over_http() -> None:
    with KeyServer(plain(jwks(OLD))) as server:
        assert FetchedKeys(lambda: fetched(server.url, LookUps().addresses), lambda _reason: None).key("old").key_id == "old"
