"""Where a request ends, nginx and the sidecar agree: RFC 9112's table once more, and variations of it, through the proxies that we ship."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import pytest

from tests.server.framed import REFUSED, TAKEN, UNKNOWN
from tests.server.nginx import Asked, Played, play

pytestmark = pytest.mark.slow
BEHIND = "GET /behind HTTP/1.1\r\nHost: x\r\n\r\n"
ROWS = [*REFUSED.values(), *UNKNOWN.values(), *(text for text, *_ in TAKEN.values())]
SITES = ("compose", "chart")
VARIATIONS = 200
PIECES = [
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "0",
    "5",
    "a",
    "\0",
    "\x85",
    "chunked",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "0\r\n\r\n",
]


def varied(text: str) -> str:
    """Return a request with something put in, left out or put twice."""
    at, until = sorted(random.choices(range(len(text)), k=2))
    until = min(until, at + 20)
    return text[:at] + random.choice(["", *PIECES, text[at:until] * 2]) + text[random.choice([at, until]) :]


@pytest.fixture(scope="module")
def played(program: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Played]:
    """What came of each row and variation, by site."""
    nginx = program("nginx", "nginx-light")
    short = [text for text in ROWS if len(text) < 500]
    texts = {text + BEHIND: None for text in (*ROWS, *(varied(random.choice(short)) for _ in range(VARIATIONS)))}
    return {site: play(nginx, tmp_path_factory.mktemp(site), site, texts) for site in SITES}


@pytest.mark.parametrize("site", SITES)
def test_the_sidecar_sees_the_requests_that_nginx_meant_and_no_others(played: Mapping[str, Played], site: str) -> None:
    outcomes = played[site].outcomes

    assert {(text[:500], in_pieces): found for (text, in_pieces), found in outcomes.items() if not found.is_agreed()} == {}
    assert played[site].refused == sum(len(found.refused) for found in outcomes.values())


@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "in pieces"])
@pytest.mark.parametrize("site", SITES)
def test_what_is_well_formed_arrives_whole_or_is_refused_by_nginx(played: Mapping[str, Played], site: str, in_pieces: bool) -> None:
    outcomes = {name: played[site].outcomes[text + BEHIND, in_pieces].seen for name, (text, *_) in TAKEN.items()}
    seen = {name: [one._replace(uri=one.uri.partition("?")[0], host="") for one in found] for name, found in outcomes.items()}
    expected = {name: [Asked(text.split()[0], path, "", body.decode()), Asked("GET", "/behind", "", "")] for name, (text, path, _host, body) in TAKEN.items()}

    assert {name: found for name, found in seen.items() if found not in ([], expected[name][:1], expected[name])} == {}
    assert seen["7.1 chunks"] == expected["7.1 chunks"]
