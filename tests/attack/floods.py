"""Attacks by numbers: guesses of passwords, refusals that count as guesses, connections and uploads that are never finished."""

from __future__ import annotations

import contextlib
import itertools
import math
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

from tests.attack.scene import GOOD, PING, Attack, Scene, Seen, at_once, post
from tests.real.sidecar import Answer, Sidecar, ask

BURST = 3  # limits.auth_failures_burst
LOGIN_SECONDS = 5.0
IDLE = 2010
STREAMS = 210
CROWD = 40
CALLS = 29
UPLOADS = 40
UPLOAD_BYTES = 16 * 1024**2
MOST_BYTES = 64 * 1024**2  # api.body_bytes_per_address
# For whoever has to be served beside a flood, on a machine that is busy with the flood itself.
SERVED_SECONDS = 5.0


def bad_credentials(sidecar: Sidecar) -> float:
    return sidecar.metric("salt_api_auth_attempts_total", result="bad_credentials")


def missing_rights(scene: Scene) -> Seen:
    """Ask for wheels and runners with a good password and a good token, and no right to them; then somebody else logs in."""
    lows = [{"client": client, "fun": "key.list_all"} for client in ("wheel", "wheel_async", "runner", "runner_async")]
    # Made at another sidecar: this one has nobody's proof.
    shown = [scene.pinger, {"token": scene.log_in(scene.sidecar, scene.pinger)["X-Auth-Token"]}]
    with scene.fresh() as sidecar:
        statuses = Counter(sidecar.post({**low, **credentials}).status for low in lows for credentials in shown for _ in range(BURST))
        neighbour = post(sidecar, "/login", scene.salt.credentials_of("limited")).status
        counted = bad_credentials(sidecar)
    return Seen(
        f"{dict(statuses)}, then a neighbour's login {neighbour}; bad_credentials {counted:.0f}", (neighbour, counted, set(statuses)) == (200, 0, {401})
    )


def guesses_in_another_field(scene: Scene) -> Seen:
    """Guess the shared secret in the field of its own, after one good login with it."""
    secret = {"eauth": "sharedsecret", "username": scene.admin["username"], "sharedsecret": scene.admin["password"]}
    with scene.fresh() as sidecar:
        first = post(sidecar, "/login", secret).status
        statuses = Counter(post(sidecar, "/login", {**secret, "sharedsecret": f"guess-{number}"}).status for number in range(15))
    return Seen(f"{first}, then {statuses[401]} of 15 reached the master", first == 200 and statuses[401] <= BURST and statuses[429] == 15 - statuses[401])


def log_in_from(sidecar: Sidecar, address: str, credentials: dict[str, str]) -> Answer:
    return post(sidecar, "/login", credentials, {"X-Forwarded-For": address})


def seconds_to_log_in(sidecar: Sidecar, address: str, credentials: dict[str, str]) -> float:
    """Log in, again when told to come back, and return how long it took in all; infinity if that would be too long."""
    began = time.monotonic()
    while (answer := log_in_from(sidecar, address, credentials)).status == 429:
        again = float(answer.headers["retry-after"])
        if time.monotonic() - began + again >= LOGIN_SECONDS:
            return math.inf
        time.sleep(again)
    return time.monotonic() - began if answer.status == 200 else math.inf


def guesses_from_one_network(scene: Scene) -> Seen:
    """Guess from changing addresses of one /64, once a second, while five people log in for the first time."""
    guessed: Counter[int] = Counter()
    with scene.fresh(ACCESS_TRUSTED_PROXIES="127.0.0.1") as sidecar, ThreadPoolExecutor(1) as crowd:

        def log_in(number: int) -> float:
            return seconds_to_log_in(sidecar, f"2001:db8:0:{number + 1:x}::1", scene.salt.credentials_of(GOOD[number]))

        for number in range(BURST):
            guessed[guess_of(sidecar, number)] += 1
        took = crowd.submit(at_once, len(GOOD), log_in)
        for number in itertools.count(BURST):
            guessed[guess_of(sidecar, number)] += 1
            if wait([took], timeout=1).done:
                break
    passed = [seconds for seconds in took.result() if seconds < math.inf]
    now = f"{len(passed)} of {len(GOOD)} good logins passed, the last after {max(passed, default=0):.1f} s; guesses: {dict(guessed)}"
    return Seen(now, len(passed) == len(GOOD) and guessed[401] <= BURST)


def guess_of(sidecar: Sidecar, number: int) -> int:
    return log_in_from(sidecar, f"2001:db8::{number + 1:x}", {"eauth": "file", "username": f"user-{number}", "password": "guess"}).status


@contextlib.contextmanager
def connected(port: int, number: int, address: str, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """Keep connections from one address open inside the block; those that the server closes meanwhile stay in the list."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(address, 0))) for _ in range(number)]
        for one in sockets if sent else []:
            with contextlib.suppress(OSError):
                one.sendall(sent)
        yield sockets


def all_streams(scene: Scene) -> Seen:
    """Open more event streams than there are, as one user; then the admin opens one."""
    with scene.fresh() as sidecar:
        token, admins = (scene.log_in(sidecar, who)["X-Auth-Token"] for who in (scene.pinger, scene.admin))
        asked = b"GET /events HTTP/1.1\r\nHost: x\r\nX-Auth-Token: %s\r\n\r\n"
        with connected(sidecar.api_port, STREAMS, "127.0.0.4", asked % token.encode()) as attackers:
            taken = sum(b" 200 " in one.recv(20) for one in attackers)
            with connected(sidecar.api_port, 1, "127.0.0.1", asked % admins.encode()) as (admin,):
                status = admin.recv(20).split()[1].decode()
    return Seen(f"{taken} of {STREAMS} taken, then the admin's {status}", status == "200" and taken < STREAMS)


def strangers_beside_an_admin(scene: Scene) -> Seen:
    """Let forty callers guess at once, each from an address of its own and at a name of its own, while a proven admin makes its calls."""
    low = {**PING, **scene.admin, "client": "local_async"}
    with scene.fresh(ACCESS_TRUSTED_PROXIES="127.0.0.1") as sidecar, ThreadPoolExecutor(1) as crowd:
        sidecar.post(low)

        def guess(number: int) -> int:
            bad = {"eauth": "file", "username": f"user-{number}", "password": "guess"}
            return sidecar.post({**low, **bad}, headers={"X-Forwarded-For": f"192.0.2.{number + 1}"}).status

        guessed = crowd.submit(at_once, CROWD, guess)
        answered: Counter[int] = Counter()
        while not guessed.done() or answered.total() < CALLS:
            answered[sidecar.post(low).status] += 1
            wait([guessed], timeout=0.1)
    return Seen(f"admin {dict(answered)}; guesses {dict(Counter(guessed.result()))}", set(answered) == {200})


def idle_connections(scene: Scene) -> Seen:
    with connected(scene.flooded.api_port, IDLE, "127.0.0.2"):
        answer = ask(scene.flooded.api_port, "GET", "/", timeout=30)
        held = scene.flooded.metric("salt_api_connections_open")
    return Seen(f"GET / {answer.status} after {answer.seconds:.2f} s; {held:.0f} kept", answer.status == 200 and answer.seconds < SERVED_SECONDS)


def unfinished_uploads(scene: Scene) -> Seen:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % UPLOAD_BYTES
    with connected(scene.flooded.api_port, UPLOADS, "127.0.0.3", head + b"x" * (UPLOAD_BYTES - 1)):
        held = scene.flooded.metric("salt_api_body_buffer_bytes")
        answer = ask(scene.flooded.api_port, "GET", "/", timeout=30)
    return Seen(f"{held / 1e6:.0f} MB held; GET / {answer.status}", 0 < held <= MOST_BYTES and answer.status == 200)


ATTACKS = [
    Attack("B6", "wheels and runners without the right", "then 429 for everybody who is not proven", missing_rights),
    Attack("B7", "guesses in `sharedsecret=` after a good login", "15 of 15 reached the master", guesses_in_another_field),
    Attack("B8", "a guess a second from one IPv6 /64", "2 of 5 good logins passed", guesses_from_one_network),
    Attack("B9", "one user takes all event streams", "200 of 200; 503 for everybody else", all_streams),
    Attack("B9", f"{CROWD} callers with wrong passwords beside an admin", "2 of the admin's 29 calls refused", strangers_beside_an_admin),
    Attack("B10", f"{IDLE:,} idle connections from one host", "GET / timed out", idle_connections),
    Attack("B10", f"{UPLOADS} unfinished uploads of 16 MiB", "595 MB held", unfinished_uploads),
]
