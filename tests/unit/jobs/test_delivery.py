"""How a notice is sent: where it may go, signed, over TLS, and within its time, whatever receiver and resolver do."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.demo.embedded import PATIENCE_SECONDS, until
from service.jobs.notify.delivery import deliver, is_allowed
from service.outgoing.look_ups import LookUps
from service.settings.job_settings import JobSettings
from tests.certificates import certificate
from tests.receiver import receiving


def soon() -> Iterator[object]:
    return until(PATIENCE_SECONDS, sleep=lambda _seconds: time.sleep(0.001))


URL = "https://ci.example.org/hooks/1"
ALLOWED = ("https://ci.example.org/hooks/", "https://chat.example.org:8443/one", "http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://ci.example.org/hooks/", True),
        ("https://CI.example.org:443/hooks/a/b?c=d", True),
        ("https://chat.example.org:8443/one", True),
        ("http://127.0.0.1:9/x", True),
        ("https://chat.example.org:8443/one?x=1", True),
        ("https://ci.example.org/hooks", False),
        ("https://ci.example.org/", False),
        ("http://ci.example.org/hooks/", False),
        ("https://ci.example.org:8443/hooks/", False),
        ("https://ci.example.org.evil.example/hooks/", False),
        ("https://ci.example.org@evil.example/hooks/", False),
        ("https://evil.example/https://ci.example.org/hooks/", False),
        ("https://user:pw@ci.example.org/hooks/", False),
        ("https://ci.example.org/hooks/../admin", False),
        ("https://ci.example.org/hooks/%2e%2E/admin", False),
        ("https://ci.example.org/hooks/..%2fadmin", False),
        ("https://ci.example.org/hooks/..\\admin", False),
        ("https://ci.example.org/hooks//evil.example/", False),
        ("https://ci.example.org/hooks/#x", False),
        ("https://chat.example.org:8443/one/two", False),
        ("https://chat.example.org:8443/one2", False),
        ("https://ci.example.org:99999/hooks/", False),
        ("https://[::1/hooks/", False),
        ("ftp://ci.example.org/hooks/", False),
    ],
)
def test_a_notice_goes_nowhere_but_where_an_entry_says(url: str, *, allowed: bool) -> None:
    assert is_allowed(url, ALLOWED) is allowed
    assert not is_allowed(url, ())


@pytest.mark.parametrize(
    "entry",
    ["http://ci.example.org/", "https://ci.example.org", "https://u:p@ci.example.org/", "https://ci.example.org/?a", "*", "http://127.0.0.1.evil.example/"],
)
def test_an_entry_that_would_allow_too_much_is_refused(tmp_path: Path, entry: str) -> None:
    with pytest.raises(ValidationError, match="an entry is no URL"):
        JobSettings(notify_urls=(entry,), notify_secret_file=tmp_path)
    with pytest.raises(ValidationError, match="go together"):
        JobSettings(notify_urls=ALLOWED)


def test_a_notice_is_signed_and_taken_with_2xx_alone() -> None:
    with receiving() as receiver:
        receiver.answers = [200, 302, 500]
        said = [deliver(f"{receiver.url}a?b=c", b"{}", b"secret", 10, LookUps().addresses) for _ in range(3)]
        (path, headers, body), *_ = receiver.got

    assert said == [None, "answered 302", "answered 500"]
    assert [path for path, _, _ in receiver.got] == ["/hooks/a?b=c"] * 3
    assert (path, body, headers["content-type"]) == ("/hooks/a?b=c", b"{}", "application/json")
    assert headers["x-hub-signature-256"] == "sha256=" + hmac.new(b"secret", b"{}", hashlib.sha256).hexdigest()


@pytest.mark.costly
@pytest.mark.parametrize("trusted", [True, False])
def test_https_is_spoken_with_those_alone_whose_certificate_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, trusted: bool) -> None:
    pair = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(pair))
    with receiving(context) as receiver:
        said = deliver(receiver.url, b"{}", b"secret", 10, LookUps().addresses)

    assert (said is None, len(receiver.got)) == (trusted, int(trusted))
    assert trusted or "CERTIFICATE_VERIFY_FAILED" in str(said)


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one connection inside the block; gives the URL's authority."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError), server.accept()[0] as peer:
                answer(peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        # Under load the deadline may pass before anybody calls.
        server.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE_SECONDS)


def drip(peer: socket.socket) -> None:
    for _ in soon():
        peer.sendall(b"H")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("answer", [drip, lambda peer: peer.recv(1), lambda peer: peer.sendall(b"nonsense\r\n")])
@pytest.mark.slow
def test_who_answers_slowly_or_nonsense_holds_nobody_up(scheme: str, answer: Callable[[socket.socket], None]) -> None:
    with answering(answer) as authority:
        started = time.monotonic()
        said = deliver(f"{scheme}://{authority}/", b"{}", b"secret", 0.1, LookUps().addresses)

    assert said
    assert time.monotonic() - started < PATIENCE_SECONDS


def test_who_is_not_there_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        authority = f"127.0.0.1:{server.getsockname()[1]}"

    assert "ConnectionRefusedError" in (deliver(f"http://{authority}/", b"{}", b"secret", 10, LookUps().addresses) or "")


@pytest.mark.slow
def test_a_resolver_that_hangs_holds_nobody_up_and_its_threads_are_counted() -> None:
    answers = threading.Event()

    def find(_host: str, _port: int, **_asked: object) -> list[tuple[Any, ...]]:
        answers.wait(PATIENCE_SECONDS)
        return []

    look_ups = LookUps(2, find=find)
    started = time.monotonic()
    said = [deliver(URL, b"{}", b"secret", 0.02, look_ups.addresses) for _ in range(3)]
    took = time.monotonic() - started
    answers.set()

    assert said == [
        "TimeoutError: ci.example.org was not looked up within 0.02 s",
        "TimeoutError: ci.example.org was not looked up within 0.02 s",
        "TimeoutError: ci.example.org was not looked up: the resolver answers no other look-up",
    ]
    assert took < PATIENCE_SECONDS
    # When it answers, there is room again.
    for _ in soon():
        with contextlib.suppress(TimeoutError):
            assert look_ups.addresses("ci.example.org", 443, PATIENCE_SECONDS) == []
            return
    raise AssertionError


def test_a_name_is_looked_up_once_and_what_that_gave_is_connected_to() -> None:
    asked = []

    def find(host: str, port: int, **_asked: object) -> list[tuple[Any, ...]]:
        asked.append((host, port))
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            closed = nobody.getsockname()
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in (closed, receiver.server_address)]

    with receiving() as receiver:
        said = deliver("http://ci.example.org/hooks/", b"{}", b"secret", PATIENCE_SECONDS, LookUps(find=find).addresses)

    assert (said, asked) == (None, [("ci.example.org", 80)])
    assert receiver.got[0][1]["host"] == "ci.example.org"


@pytest.mark.costly
def test_a_name_that_does_not_exist_or_has_no_address_is_told_apart() -> None:
    def unknown(*_asked: object, **_more: object) -> list[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def nowhere(*_asked: object, **_more: object) -> list[tuple[Any, ...]]:
        return []

    said = [deliver(URL, b"{}", b"secret", 10, LookUps(find=find).addresses) for find in (unknown, nowhere)]

    assert said == [f"gaierror: [Errno {socket.EAI_NONAME}] Name or service not known", "TimeoutError: no address was tried in time"]


# A name server that takes questions and answers none, alone in a network of its own.
HUNG = """
import socket, sys, time
from service.jobs.notify.delivery import deliver
from service.outgoing.look_ups import LookUps
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
started = time.monotonic()
print(deliver("https://ci.example.org/", b"{}", b"secret", 0.5, LookUps().addresses))
print(time.monotonic() - started < 4, len(server.recv(512)) > 0)
"""
APART = ["unshare", "--mount", "--net", "sh", "-c", 'ip link set lo up && mount --bind "$0" /etc/resolv.conf && exec "$@"']


@pytest.mark.slow
def test_a_name_server_that_never_answers_costs_a_try_its_time_and_no_more(tmp_path: Path) -> None:
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    tried = subprocess.run([*APART, str(resolver), "true"], capture_output=True, check=False, text=True)
    if tried.returncode:
        pytest.skip(f"no network of its own can be made here: {tried.stderr.strip()}")
    ended = subprocess.run([*APART, str(resolver), sys.executable, "-c", HUNG], capture_output=True, check=False, text=True, timeout=PATIENCE_SECONDS)

    assert ended.stdout.splitlines() == ["TimeoutError: ci.example.org was not looked up within 0.5 s", "True True"], ended.stderr
