"""Attacks by bodies: too large once they are decoded, slow to read, left behind, ending where nobody agrees, in an encoding that was not expected."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from urllib.parse import quote_plus

from tests.attack.scene import FORM, PING, YAML, Attack, Scene, Seen, at_once, post, slowest_probe
from tests.probes.bodies import LARGEST, LIMIT, MIB, SHAPES
from tests.real.sidecar import Answer, Sidecar
from tests.server.conftest import Caller
from tests.server.framed import REFUSED

CALLERS = 8
PRIME = 2**61 - 1  # of Python's hash of numbers: all multiples collide
COLLIDING = "".join(f"{number * PRIME}: 1\n" for number in range(1, 20_001))
BASE_60 = "1" + ":59" * 166_000
# For the answer, and for `/livez` beside it: far below the 9 s that it was, and far above what a busy machine adds to the milliseconds that it is.
QUICK_SECONDS = 4.0
AT_ONCE_SECONDS = 10.0
LEFT_BYTES = 100 * MIB


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


def larger_once_decoded(shape: str, expected: set[int]) -> Callable[[Scene], Seen]:
    """Send the worst body of a shape from eight callers at once."""

    def play(scene: Scene) -> Seen:
        session = scene.log_in(scene.flooded, scene.admin)
        media_type, make = SHAPES[shape]
        body = make().encode()
        answered = statuses(at_once(CALLERS, lambda _: post(scene.flooded, "/", body, {**session, "Content-Type": media_type})))
        peak = scene.flooded.peak_bytes()
        return Seen(f"{dict(answered)}, peak {peak // MIB} MiB", {*answered} <= expected and peak < LIMIT)

    return play


def refused_later(scene: Scene) -> Seen:
    """Send a large low with a wrong password, again and again; a proven caller goes on, and the memory comes back."""
    sidecar = scene.flooded
    ping = {**PING, **scene.admin}
    sidecar.post(ping)
    body = json.dumps({**PING, **scene.pinger, "password": "bogus", "arg": ["x" * 7 * MIB]}).encode()
    literal = b'{"client":"local","tgt":"*","fun":"test.ping","username":"x","password":"x","eauth":"pam","arg":[' + b"{}," * (LARGEST // 3 - 100) + b"{}]}"
    answers = [post(sidecar, "/", literal), post(sidecar, "/", body)]
    before = sidecar.metric("process_resident_memory_bytes")
    answers += [post(sidecar, "/", body) for _ in range(3)]
    beside = sidecar.post(ping).status
    left = sidecar.metric("process_resident_memory_bytes") - before
    downs = len(sidecar.lines("master.down"))
    now = f"{dict(statuses(answers))}, {max(0, left) / 1e6:.0f} MB stayed, down {downs} times, beside it {beside}"
    return Seen(now, {*statuses(answers)} <= {401, 413, 429} and left < LEFT_BYTES and (downs, beside) == (0, 200))


def slow_to_read(body: str, headers: dict[str, str], *expected: int) -> Callable[[Scene], Seen]:
    """Send a body whose reading was once quadratic work, and look at `/livez` beside it."""

    def play(scene: Scene) -> Seen:
        session = scene.log_in(scene.flooded, scene.admin)
        answer, slowest = slowest_probe(scene.flooded, lambda: post(scene.flooded, "/", body.encode(), {**session, **headers}))
        now = f"{answer.status} after {answer.seconds:.2f} s, /livez {slowest * 1000:.0f} ms"
        return Seen(now, answer.status in expected and max(answer.seconds, slowest) < QUICK_SECONDS)

    return play


def framed(sidecar: Sidecar, text: str) -> bool:
    """Say whether a request is answered 400 at once, and is the last on its connection."""
    caller = Caller(sidecar.api_port)
    caller.socket.settimeout(AT_ONCE_SECONDS)
    try:
        return caller.send(text).answer()[0] == 400 and caller.rest() == b""
    finally:
        caller.close()


def ends_where_nobody_agrees(scene: Scene) -> Seen:
    held = sum(framed(scene.sidecar, text) for text in REFUSED.values())
    return Seen(f"{held} of {len(REFUSED)} answered 400 and closed", held == len(REFUSED))


def encodings(scene: Scene) -> Seen:
    """Send a word in Latin-1 with and without saying so, with a byte order mark, and compressed."""
    session = scene.log_in(scene.sidecar, scene.admin)
    text = json.dumps({**PING, "fun": "test.arg", "arg": ["grün"]}, ensure_ascii=False)

    def send(body: bytes, **headers: str) -> Answer:
        return post(scene.sidecar, "/", body, {**session, **{name.replace("_", "-"): value for name, value in headers.items()}})

    told = send(text.encode("latin-1"), Content_Type="application/json; charset=iso-8859-1")
    marked = send(text.encode("utf-8-sig"))
    packed = send(gzip.compress(text.encode()), Content_Encoding="gzip")
    untold = send(text.encode("latin-1"))
    named = "UTF-8" in untold.json()["return"] and "gzip" in packed.json()["return"]
    found = [answer.status for answer in (told, marked, packed, untold)]
    return Seen(f"declared {found[0]}, BOM {found[1]}, gzip {found[2]}, undeclared {found[3]}", found == [200, 200, 415, 400] and named)


FORM_BASE_60 = f"client=none&arg={quote_plus(BASE_60)}"
ATTACKS = [
    Attack("C11", f"{CALLERS} times 16 MiB of [{{}},{{}},...]", "577 MB for one", larger_once_decoded("too many values", {413, 503})),
    Attack("C11", f"{CALLERS} times the largest permitted body", "no bound", larger_once_decoded("objects", {400, 503})),
    Attack("C12", "a large low with a wrong password", "down for 5 to 11 s, 385 MB stayed with each", refused_later),
    Attack("C13", "20,000 keys of YAML that collide", "11 s", slow_to_read(COLLIDING, YAML, 400, 413)),
    Attack("C13", "500 KB of a number of base 60, in YAML", "12 s, /livez blocked for 9 s", slow_to_read(BASE_60, YAML, 400, 413)),
    Attack("C13", "the same in a form", "12 s, /livez blocked for 9 s", slow_to_read(FORM_BASE_60, FORM, 400)),
    Attack("C13", "batch: 0x and 6,000 digits", "500", slow_to_read(f"client: local_batch\ntgt: '*'\nfun: test.ping\nbatch: 0x{'f' * 6000}\n", YAML, 400)),
    Attack("C14", "requests that a proxy could read in another way", "200, connection kept; bare LF after 60 s", ends_where_nobody_agrees),
    Attack("C15", "bodies in other encodings", '400, "surrogates"', encodings),
]
