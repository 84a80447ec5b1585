"""Every field of a low in each spelling of its values, sent to rest_cherrypy and to the sidecar."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from service.clients import OPT_IN, Client
from tests.compat.compare import normal
from tests.compat.differences import RESPELLED, Respelled
from tests.compat.exchange import Answer, Request, Side
from tests.spellings import MEDIA_TYPES, REFUSED, Spelling, fields

# The jid of the spellings. A minion runs each once, so every call gets one of its own.
JID = b"20260101000000000000"
CALLERS = 4
# These send what several transports make the same value of once for each; the other clients once.
EVERY_TRANSPORT = frozenset({Client.LOCAL_ASYNC, Client.WHEEL})
# Of events: what is ours, and what differs every time.
OF_EVENTS = frozenset({"metadata", "ts"})


@dataclasses.dataclass(frozen=True)
class Said:
    """What one server answered: its status, and of a success what came back, without what differs every time."""

    status: int
    value: Any = None


@dataclasses.dataclass(frozen=True)
class Respelling:
    """One spelling in a field of a client's low, and what both servers said to it."""

    client: Client
    field: str
    spelling: Spelling
    theirs: Said
    ours: Said

    @property
    def rules(self) -> list[Respelled]:
        """The listed differences that the spelling has."""
        return [rule for rule in RESPELLED if rule.covers(self.client, self.field, self.spelling)]

    def faults(self) -> list[str]:
        """Say what is wrong, one sentence for each fault."""
        both = f"{self.spelling.transport} {self.spelling.text}: theirs {self.theirs!r:.300}, ours {self.ours!r:.300}"
        return [
            *([f"differs and is not listed: {both}"] if self.theirs != self.ours and not self.rules else []),
            *([f"is listed, and does not differ: {both}"] if self.theirs == self.ours and self.rules else []),
            *([f"is listed twice: {both}"] if len(self.rules) > 1 else []),
            *([f"is not what the spelling means: {both}"] if self.ours.status != (400 if self.spelling.means == REFUSED else 200) else []),
        ]


def respellings() -> list[tuple[Client, str, list[Spelling]]]:
    """Return the fields of every client that both enable, each with the spellings that are sent."""
    return [
        (client, field, list(spellings) if client in EVERY_TRANSPORT else _distinct(spellings)) for client, field, spellings in fields() if client not in OPT_IN
    ]


def _distinct(spellings: tuple[Spelling, ...]) -> list[Spelling]:
    """Leave out what another transport has made the same value of. 1, 1.0 and true are three; an empty text is left out by forms alone."""
    return list({repr((one.value, one.means)): one for one in reversed(spellings)}.values())


def low_of(client: Client, field: str) -> dict[str, Any]:
    """Return a low whose answer shows what was made of a field."""
    low: dict[str, Any] = {"client": client.value}
    if client.kind == "runner":
        return low | {"fun": "test.arg"}
    if client.kind == "wheel":
        return low | {"fun": "key.name_match", "match": "minion-1"}
    if field == "failhard":
        return low | {"tgt": "*", "fun": "demo.retcode", "arg": [1], "batch": "1"}
    tgt = "*" if field == "batch" else "minion-1"
    if client == Client.LOCAL_SUBSET and field != "subset":
        # It asks the minions for the names of all their functions first, which takes them a second. Nobody shows what is refused, too.
        tgt = "nobody"
    return low | {"tgt": tgt, "fun": "demo.echo", "arg": ["x"]}


class Respeller:
    """Sends spellings to rest_cherrypy and to the sidecar."""

    def __init__(self, theirs: Side, ours: Side) -> None:
        self._sides = (theirs, ours)
        self._numbers = itertools.count(1)
        for side in self._sides:
            side.token("demo")

    def send(self, client: Client, field: str, spellings: list[Spelling]) -> Iterator[Respelling]:
        """Send each spelling to both, several at a time where that changes nothing."""
        # A wheel_async of rest_cherrypy forks it; what another thread holds just then is never let go. And the functions of a minion with threads share one retcode.
        with ThreadPoolExecutor(1 if client == Client.WHEEL_ASYNC or field == "failhard" else CALLERS) as threads:
            asked = [[threads.submit(self._ask, side, client, field, one) for side in self._sides] for one in spellings]
            for one, (theirs, ours) in zip(spellings, asked, strict=True):
                yield Respelling(client, field, one, theirs.result(), ours.result())

    def _ask(self, side: Side, client: Client, field: str, spelling: Spelling) -> Said:
        body = spelling.body(low_of(client, field), field).replace(JID, b"20260101%012d" % next(self._numbers))
        answer = side.send(Request("spelled", "POST", "/", body, session="demo", content_type=MEDIA_TYPES[spelling.transport]))
        return said(field, answer)


def said(field: str, answer: Answer) -> Said:
    if answer.status != 200:
        return Said(answer.status)
    returned = normal(answer.json()["return"])
    if field == "failhard":
        return Said(200, f"{len(returned)} of 2 minions")
    if field == "raw":
        returned = [_without_own(one) for one in returned]
    return Said(200, sorted(returned, key=sorted))


def _without_own(returned: dict[str, Any]) -> dict[str, Any]:
    return {name: {key: one for key, one in value.items() if key not in OF_EVENTS} if name == "data" else value for name, value in returned.items()}
