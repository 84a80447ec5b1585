"""The benchmark judges answers as it says, tells whose CPU time it was, and still reads its earlier results."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgpack
import orjson
import pytest

from benchmarks.behaviour import GRAINS, Behaviour
from benchmarks.cases import BAD, Check
from benchmarks.crowd import Crowd, accept
from benchmarks.crowd_cases import CROWDED, PAGES, sized
from benchmarks.eauth.auth import slow
from benchmarks.flames import draw, stacks_of, tree_of
from benchmarks.followers import Follow, Follower
from benchmarks.load import Load, is_right
from benchmarks.login_cases import PAM_PASSWORD, PAM_USER, credentials, login_cases, master_options
from benchmarks.probes import Meanwhile
from benchmarks.report import page
from benchmarks.soak import Point, summary
from benchmarks.streams import READY, Stream, Watch
from service.demo.embedded import until
from service.events.event import read
from service.gateway.transport.event_writer import packed

ROOT = Path(__file__).resolve().parents[2]
SILENT_LOAD = Load(0, "", {}, "returns", ("good",), silent=("quiet",))
RAW = "thread (7): bus;run (a.py:1);send (b.py:2) 3\nthread (8): api-1;run (a.py:1) 1\nthread (9): api-2;run (a.py:4) 1\n"


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ({"good": True, "quiet": "Minion did not return. [No response]"}, True),
        ({"good": True}, False),
        ({"good": True, "quiet": True}, False),
        ({"quiet": "Minion did not return."}, False),
        ({"good": "Minion did not return."}, False),
        (["good"], False),
    ],
)
def test_an_answer_is_right_if_all_that_answered_are_there_and_the_silent_are_missing(value: object, right: bool) -> None:
    assert is_right(orjson.dumps({"return": [value]}), SILENT_LOAD) is right


@pytest.mark.parametrize(
    ("check", "status", "value", "right"),
    [
        ("v1_job", "publishing", None, True),
        ("v1_returns", "succeeded", "xxx", True),
        ("v1_returns", "running", "xxx", False),
        ("v1_returns", "succeeded", "xx", False),
        ("v1_returns", "succeeded", None, False),
    ],
)
def test_the_answer_about_a_job_has_each_minion_and_each_return(check: Check, status: str, value: str | None, right: bool) -> None:
    job = {"jid": "1", "status": status, "minions": {"good": {"return": value}}}

    assert is_right(orjson.dumps(job), Load(0, "", {}, check, ("good",), repeat=3)) is right
    assert not is_right(orjson.dumps(job), Load(0, "", {}, check, ("good", "other"), repeat=3))


@pytest.mark.parametrize(
    ("check", "answer", "right"),
    [
        ("grains", {"return": [{"a": GRAINS, "b": GRAINS}]}, True),
        ("grains", {"return": [{"a": GRAINS, "b": True}]}, False),
        ("v1_minions", {"minions": ["a", "b"], "seen": {}}, True),
        ("v1_minions", {"minions": ["b", "a"]}, False),
        ("key_names", {"return": {"minions": ["b", "a"], "minions_pre": []}}, True),
        ("key_names", {"return": {"minions": ["a"], "minions_pre": ["b"]}}, False),
        ("key_names", {"return": []}, False),
    ],
)
def test_a_page_is_right_if_it_has_the_whole_fleet(check: Check, answer: object, right: bool) -> None:
    assert is_right(orjson.dumps(answer), Load(0, "", {}, check, ("a", "b"))) is right


def test_no_minion_of_a_bad_fleet_is_both_asked_to_answer_and_silent() -> None:
    for case in BAD:
        asked = Counter((*case.who, *case.silent))

        assert (len(asked), max(asked.values())) == (case.minions, 1)


@pytest.mark.slow
def test_what_detaches_itself_is_counted_with_what_started_it() -> None:
    # As Salt does it for a runner: a child of a child that has ended, in a session of its own.
    work = "over = time.process_time() + 0.3\n while time.process_time() < over: pass"
    detached = f"import os, time\nif not os.fork():\n if os.fork(): os._exit(0)\n os.setsid()\n {work}\n os._exit(0)\ntime.sleep(60)"
    argv = [sys.executable, str(ROOT / "benchmarks" / "adopting.py"), sys.executable, "-c", detached]
    with subprocess.Popen(argv, start_new_session=True) as process:
        meanwhile = Meanwhile({"master": process.pid})
        for _ in until(60):
            figures = meanwhile.figures(2)
            if figures["master_ms"] > 100:
                break
        process.terminate()

    assert figures["master_ms"] > 100
    assert figures["beside_cores"] == figures["master_cores"] > 0
    assert 0 <= figures["idle_percent"] <= 100


def test_pam_is_measured_where_somebody_gives_it_a_user_and_a_slow_module_everywhere() -> None:
    given = {PAM_USER: "somebody", PAM_PASSWORD: "right"}

    assert [case.name for case in login_cases({})] == [case.name for case in login_cases({PAM_USER: "somebody"})] == ["inline-slow-16"]
    assert [case.name for case in login_cases(given)] == ["inline-slow-16", "inline-pam-16"]
    assert set(master_options({})["external_auth"]) == {"slow"}
    assert {"somebody"} == set(master_options(given)["external_auth"]["pam"])
    assert credentials("pam", given) == {"eauth": "pam", "username": "somebody", "password": "right"}
    assert credentials("", given) == {}


def test_the_slow_module_takes_its_one_password_and_its_time() -> None:
    given = credentials("slow", {})
    started = time.monotonic()

    assert slow.auth(given["username"], given["password"])
    assert not slow.auth(given["username"], "another")
    assert time.monotonic() - started >= 2 * slow.SECONDS


def test_the_report_reads_results_from_before_the_master_was_measured() -> None:
    now = {"rate": 2.0, "cpu_ms": 3.0, "master_ms": 40.0, "beside_cores": 1.5}
    about = dict.fromkeys(("commit", "machine", "memory_gb", "system", "python"), "-") | {"date": "2026-01-01T00:00", "packages": {}}
    cases = {"then": {"title": "then", "medians": {"sidecar": {"rate": 2.0, "cpu_ms": 3.0}}}, "now": {"title": "now", "medians": {"sidecar": now}}}

    text = page({"about": {**about, "load_before": 0.0, "minutes": 1.0}, "verdicts": [], "cases": cases}, None)

    assert "### then\n\n| | rate | CPU per request |\n" in text
    assert "### now\n\n| | rate | CPU per request | master | cores of both |\n" in text


def test_a_flame_graph_shows_the_time_of_the_kernel_not_the_number_of_samples() -> None:
    used = {7: ("python", 30.0), 8: ("python", 20.0), 9: ("python", 40.0), 10: ("ZMQbg", 10.0)}

    root = tree_of(stacks_of(RAW, used))

    assert root.ms == 100
    assert {name: frame.ms for name, frame in root.calls.items()} == {"bus": 30, "api-*": 60, "ZMQbg, no Python": 10}
    assert "run (a.py): 60.00 %, 60 ms" in draw(root, "a title", "and below")


def test_a_soak_tells_what_grows_after_its_warm_up_and_what_was_lost_in_all_of_it() -> None:
    points = [Point(1000 * number, 1, 90.0 + number + 50 * (not number), 50 + number, 30, 60.0) for number in range(10)]

    made = summary(points)

    assert (made["requests"], made["lost"], made["rss_slope_mb"], made["rss_growth_mb"]) == (9000, 1, 10.0, 7.0)
    assert (made["descriptors_growth"], made["threads_growth"], made["publisher_slope_mb"]) == (7, 0, 0.0)


def test_of_a_crowd_each_size_has_as_many_returns() -> None:
    for case in (*CROWDED, *PAGES):
        for peer in case.peers:
            chosen = sized(case, peer)

            assert chosen.minions * chosen.each * chosen.callers == case.minions * case.each * case.callers, (case.name, peer)


def test_a_smaller_crowd_leaves_no_keys_of_a_larger_one(tmp_path: Path) -> None:
    (tmp_path / "master.pub").write_text("key")
    (tmp_path / "minions").mkdir()
    (tmp_path / "minions" / "real").write_text("its own")
    accept(tmp_path, ["sim-0000", "sim-0001", "sim-0002"])
    accept(tmp_path, ["sim-0000", "sim-0003"])

    assert {path.name: path.read_text() for path in (tmp_path / "minions").iterdir()} == {"real": "its own", "sim-0000": "key", "sim-0003": "key"}


class Wire(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))


@pytest.mark.parametrize(("head", "asks"), [(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", True), (b"HTTP/1.1 401 Unauthorized\r\n\r\n", False)])
def test_a_reader_by_websocket_asks_for_events_once_it_has_one(head: bytes, asks: bool) -> None:
    async def spoken() -> tuple[bytes, list[bytes], bool, int]:
        wire, reader = Wire(), Stream(Watch(0, {}, "", 1, 0.0, 1, "/ws", sockets=True), [])
        reader.connection_made(wire)
        for part in (head, b'\x81\x7e\x00\x99data: {"data":{"mark":"bench-0-17', b'00000000.000000"},"tag":"bench/small"}'):
            reader.data_received(part)
        return wire.written[0], wire.written[1:], await reader.opened, reader.got

    request, after, opened, got = asyncio.run(spoken())

    assert b"Upgrade: websocket\r\n" in request
    assert (opened, [frame[6:] for frame in after], got) == (asks, [READY] * asks, 1)


@pytest.mark.costly
def test_a_reader_of_jobs_counts_each_return_however_it_is_cut() -> None:
    tags = [f"salt/job/20260101000000000000/{what}" for what in ("new", "ret/sim-0000", "ret/a.b", "prog/a/1")]
    stream = b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(b'tag: x\ndata: {"tag":"%s","data":{}}\n\n' % tag.encode() for tag in tags)

    async def heard(cut: int) -> int:
        reader = Stream(Watch(0, {}, "", 1, 0.0, 2, jobs=1), [])
        reader.data_received(stream[:cut])
        reader.data_received(stream[cut:])
        return reader.got

    assert {asyncio.run(heard(cut)) for cut in range(1, len(stream))} == {2}


@pytest.mark.costly
def test_a_follower_hears_all_and_the_end_however_it_is_cut() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Request-Id: 01a0\r\n\r\n"
    stream = head + b"1\r\n\n\r\n" + b"".join(b'1A\r\n{"seq":%d,"event":"minion"}\n\r\n' % number for number in (1, 2)) + b"0\r\n\r\n"

    async def heard(cut: int) -> tuple[bool, bool, int]:
        follower = Follower(Follow(0, {}, "", 1, 1, 2), "jid")
        follower.data_received(stream[:cut])
        early = follower.over.done()
        follower.data_received(stream[cut:])
        return early, follower.over.done(), follower.got

    assert {asyncio.run(heard(cut)) for cut in range(1, len(stream))} == {(False, True, 2)}


@pytest.mark.parametrize("ran", [True, False])
def test_a_follower_knows_whether_its_job_was_seen_to_run(ran: bool) -> None:
    lines = [b'{"seq":1,"event":"status","status":"running"}\n', b'{"seq":%d,"event":"minion","status":"running"}\n' % (1 + ran)][not ran :]

    async def heard() -> tuple[bool, int]:
        follower = Follower(Follow(0, {}, "", 1, 1, 1), "jid")
        for line in lines:
            follower.data_received(line)
        return follower.ran, follower.got

    assert asyncio.run(heard()) == (ran, len(lines))


@pytest.mark.costly
def test_a_crowd_answers_for_whom_it_has_and_says_who_still_runs_a_job() -> None:
    async def play() -> list[tuple[str, Any]]:
        crowd = Crowd(["a", "b"], 100.0, Behaviour())
        told: list[bytes] = []
        for jid, fun, arg in (("1", "test.sleep", [0.05]), ("2", "saltutil.find_job", ["1"])):
            crowd.hear(packed(f"salt/job/{jid}/new", {"jid": jid, "fun": fun, "arg": arg, "minions": ["a", "stranger"]}, 10_000))
            told += crowd.next(5)
        while len(told) < 2:
            await asyncio.sleep(0)
            told += crowd.next(5)
        crowd.hear(packed("salt/job/3/new", {"jid": "3", "fun": "saltutil.find_job", "arg": ["1"], "minions": ["a"]}, 10_000))
        events = [read(msgpack.unpackb(frame[4:])["body"]) for frame in [*told, *crowd.next(5)]]
        return [(event.tag, event.data()["return"]) for event in events]

    assert asyncio.run(play()) == [
        ("salt/job/2/ret/a", {"jid": "1", "fun": "test.sleep"}),
        ("salt/job/1/ret/a", True),
        ("salt/job/3/ret/a", {}),
    ]
