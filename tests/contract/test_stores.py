"""One suite for every store of jobs: what it promises, it keeps."""

from __future__ import annotations

import dataclasses
import math
import threading
from typing import Any

import pytest

from service.errors import StorageUnavailable
from service.jobs.stores.store import Change, Happening, JobRecord, PartRecord, Search, Store
from tests.contract.conftest import Open
from tests.unit.jobs.kept import JID, OWNER, job

GOOD = PartRecord("ok", source="bus", retcode=0, flags={"states": {"changed": 1}}, at=1001.5, size=3, body=b'"a"', wave=2)


def jids(found: list[JobRecord]) -> list[str]:
    return [record.jid for record in found]


def test_what_was_stored_is_there_after_a_restart(reopen: Open) -> None:
    record = job(key="k", request={"cause_url": "https://ci.example.org/1"})
    store = reopen()
    assert store.intend(record) is None
    running = dataclasses.replace(record, status="running", expected=2, revision=1, waves=2, wave=2, taken=1)
    store.save([Change(running, {"a": PartRecord("waiting"), "b": GOOD}, durable=True)])
    store.close()
    again = reopen()

    assert again.job(JID) == again.keyed(OWNER, "k") == running
    assert again.parts(JID, bodies=True) == {"a": PartRecord("waiting"), "b": GOOD}
    assert again.parts(JID, bodies=False)["b"] == dataclasses.replace(GOOD, body=None)
    assert again.part(JID, "b") == GOOD
    assert (again.job("1"), again.part(JID, "c"), again.keyed("pam:x", "k")) == (None, None, None)
    again.close()


@pytest.mark.costly
def test_a_jobs_minions_are_the_same_with_their_returns_and_without(store: Store) -> None:
    failures = [{"id": 'ä\x00"\\', "comment": "\U0001f9c2"}]
    told = dataclasses.replace(GOOD, status="failed", reason="no", why="x", retcode={"a": [1.5, None]}, flags={"failures": failures, "size": math.inf}, wave=3)
    parts = {
        f"minion-{number:04}": PartRecord("waiting") if number % 3 else dataclasses.replace(told, at=round(1.8e9 + number / 7, 6)) for number in range(1100)
    }
    parts |= {'ä"': dataclasses.replace(told, at=0.0), "\U0001f9c2": PartRecord("unknown", why="in_doubt")}
    store.save([Change(job(), parts)])
    whole, facts = store.parts(JID, bodies=True), store.parts(JID, bodies=False)

    assert whole == parts
    assert list(whole) == list(facts) == sorted(parts)
    assert facts == {minion: dataclasses.replace(part, body=None) for minion, part in parts.items()}
    assert store.parts("1", bodies=False) == {}
    parts |= {"minion-0000": PartRecord("lost"), "minion-0001": dataclasses.replace(told, at=1.0), "minion-0002": PartRecord("not_run", why="x", wave=2)}
    store.save([Change(job(), {minion: parts[minion] for minion in ("minion-0000", "minion-0001", "minion-0002")})])
    assert store.parts(JID, bodies=True) == parts


def test_a_job_that_is_offered_is_its_sidecars_while_nobody_takes_it(store: Store) -> None:
    store.intend(job())
    taken = store.offer([JID])

    assert (taken, store.save([Change(job(status="running"), {})]), jids(store.unfinished())) == (set(), set(), [JID])


def test_a_key_belongs_to_the_job_that_had_it_first(store: Store) -> None:
    first = job(key="k")

    assert store.intend(first) is None
    assert store.intend(job("2" * 20, key="k")) == first
    assert store.job("2" * 20) is None
    assert store.intend(job("3" * 20, key="k", owner="pam:other")) is None
    assert store.intend(job("4" * 20)) is None
    assert store.intend(job("5" * 20)) is None


def test_two_jobs_cannot_have_one_jid(store: Store) -> None:
    store.intend(job(key="k"))

    with pytest.raises(StorageUnavailable, match="another job has this jid"):
        store.intend(job(key="another"))
    assert store.job(JID) == job(key="k")


def test_a_key_that_was_given_back_can_be_used_again(store: Store) -> None:
    store.intend(job(key="k"))
    store.save([Change(job(status="refused", finished=1001.0), {})])

    assert store.intend(job("2" * 20, key="k")) is None


def intended_at_once(store: Store, records: list[JobRecord]) -> list[JobRecord | None]:
    """Intend jobs on as many threads, which begin together; return what each was told."""
    found: list[JobRecord | None] = []
    start = threading.Barrier(len(records))

    def intend(record: JobRecord) -> None:
        start.wait()
        found.append(store.intend(record))

    threads = [threading.Thread(target=intend, args=(record,)) for record in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("callers", [8])
def test_of_many_at_once_with_one_key_one_wins(store: Store, callers: int) -> None:
    found = intended_at_once(store, [job(f"{number:020}", key="k") for number in range(callers)])

    assert found.count(None) == 1
    assert len({record.jid for record in found if record}) == 1


def test_open_jobs_are_found_again_the_oldest_first(store: Store) -> None:
    for number, since in ((1, 1002.0), (2, 1001.0), (3, 1003.0)):
        store.intend(job(f"{number:020}", since=since))
    store.save([Change(job(f"{3:020}", since=1003.0, status="failed", finished=1004.0), {})])

    assert jids(store.unfinished()) == [f"{2:020}", f"{1:020}"]


def test_jobs_that_a_late_return_may_correct_are_told_once_to_who_comes_after(reopen: Open) -> None:
    store = reopen()
    ends = {1: ("failed", 1000.0), 2: ("unknown", 2000.0), 3: ("succeeded", 2000.0), 4: ("cancelled", 3000.0)}
    store.save([Change(job(f"{number:020}", since=float(number), status=status, finished=finished), {}) for number, (status, finished) in ends.items()])
    store.close()
    again = reopen()

    assert jids(again.correctable(1500.0)) == [f"{2:020}", f"{4:020}"]
    assert again.correctable(1500.0) == []
    again.save([Change(job(f"{2:020}", since=2.0, status="failed", finished=2000.0, revision=5), {})])
    corrected = again.job(f"{2:020}")
    assert corrected is not None
    assert (corrected.status, corrected.revision) == ("failed", 5)
    again.close()


def test_an_owner_finds_jobs_the_newest_first_page_by_page(store: Store) -> None:
    # The clock was set back: ids do not rise with time.
    for number, since in ((9, 1001.0), (5, 1002.0), (7, 1003.0)):
        store.intend(job(f"{number:020}", since=since))
    store.intend(job("8" * 20, owner="pam:other"))
    store.save([Change(job(f"{5:020}", since=1002.0, status="failed", finished=1004.0), {})])
    page = store.search(Search(OWNER, limit=2))

    assert jids(page) == [f"{7:020}", f"{5:020}"]
    assert jids(store.search(Search(OWNER, before=page[-1].jid))) == [f"{9:020}"]
    assert jids(store.search(Search(OWNER, status="failed"))) == [f"{5:020}"]
    assert jids(store.search(Search(OWNER, since=1002.5))) == [f"{7:020}"]
    assert {*jids(store.search(Search(None)))} == {f"{number:020}" for number in (5, 7, 9)} | {"8" * 20}


def test_jobs_that_are_over_are_removed_in_time_and_others_never(store: Store) -> None:
    store.intend(job("1" * 20, key="open"))
    store.save([Change(job("2" * 20, finished=2000.0, status="succeeded"), {"a": GOOD}), Change(job("3" * 20, finished=3000.0, status="failed"), {"a": GOOD})])

    assert store.prune(2500.0, 10**9) == 1
    assert (store.job("2" * 20), store.part("2" * 20, "a")) == (None, None)
    assert store.job("3" * 20) is not None
    assert store.prune(0.0, 1) == 1
    assert store.keyed(OWNER, "open") is not None


def test_a_return_that_is_too_large_is_judged_and_not_kept(store: Store) -> None:
    large = dataclasses.replace(GOOD, size=2 * 1024 * 1024, body=b"0" * (2 * 1024 * 1024))
    store.save([Change(job(), {"a": large})])

    assert store.part(JID, "a") == dataclasses.replace(large, body=None)
    assert store.size_bytes() < large.size


def test_what_happened_is_told_again_from_any_number_on(store: Store) -> None:
    happened = [Happening(number, "minion", 1000.0 + number, {"status": "ok"}, f"m{number}") for number in range(1, 6)]
    store.save([Change(job(happened=3), {}, happened[:3])])
    store.save([Change(job(happened=5), {}, happened[2:])])

    assert store.happenings(JID, 0, 100) == happened
    assert store.happenings(JID, 3, 1) == [happened[3]]
    assert store.happenings(JID, 5, 100) == store.happenings("1", 0, 100) == []


def test_a_jobs_parent_and_inputs_are_kept_as_long_as_it_is(reopen: Open) -> None:
    store = reopen()
    repeated = job("2" * 20, parent=JID)
    for record, inputs in ((job(key="k"), b'{"arg": ["\\u0000"]}'), (repeated, None)):
        assert store.intend(record, inputs) is None
    assert store.intend(job("3" * 20, key="k"), b"of nobody") == job(key="k")
    store.save([Change(job(key="k", finished=2000.0, status="failed"), {})])
    store.close()
    again = reopen()

    assert again.job(repeated.jid) == repeated
    assert [again.inputs(jid) for jid in (JID, repeated.jid, "3" * 20)] == [b'{"arg": ["\\u0000"]}', None, None]
    assert again.prune(3000.0, 10**9) == 1
    assert again.inputs(JID) is None
    again.close()


def test_inputs_count_when_room_is_made(store: Store) -> None:
    store.intend(job(), b"x" * 60_000)
    store.save([Change(job(finished=2000.0, status="failed"), {}), Change(job("2" * 20, finished=3000.0, status="failed"), {})])
    store.prune(0.0, 10**9)

    assert store.prune(0.0, store.size_bytes() - 1) == 1
    assert store.job("2" * 20) is not None


def test_what_is_to_be_told_stays_until_it_was(store: Store) -> None:
    ends = [(f"{number:020}", 1000.0 + number) for number in (2, 3, 1)]
    store.save([Change(job(jid, status="failed", finished=at), {}, notice=True) for jid, at in ends])
    store.save([Change(job(f"{2:020}", status="succeeded", finished=1002.0, revision=2), {}, notice=True), Change(job(), {})])

    assert store.notices(2) == [f"{1:020}", f"{2:020}"]
    store.noticed([f"{1:020}", f"{2:020}"])
    assert store.notices(10) == [f"{3:020}"]
    store.prune(2000.0, 10**9)
    assert store.notices(10) == []


def in_group(number: int, **fields: Any) -> JobRecord:
    """Return a job of one group, the later the higher its number."""
    return job(f"{number:020}", since=1000.0 + number, concurrency_group="g", **fields)


def over(record: JobRecord) -> Change:
    return Change(dataclasses.replace(record, status="succeeded", finished=2000.0), {})


def turn(store: Store, record: JobRecord) -> bool:
    return store.advance(dataclasses.replace(record, status="publishing", queued_seconds=500.0))


def test_of_a_group_one_job_is_under_way_and_the_others_wait_in_their_order(store: Store) -> None:
    first, second, third = in_group(1), in_group(2, status="queued"), in_group(3, status="queued")

    assert store.intend(first) is None
    assert store.intend(in_group(2)) == first
    assert store.job(second.jid) is None
    assert store.intend(third) is None
    assert store.intend(second) is None
    assert store.intend(job("9" * 20, concurrency_group="another")) is None
    assert (turn(store, second), turn(store, third)) == (False, False)
    store.save([over(first)])
    assert store.intend(in_group(4)) == second
    assert (turn(store, third), turn(store, second), turn(store, second)) == (False, True, False)
    assert store.job(second.jid) == dataclasses.replace(second, status="publishing", queued_seconds=500.0)
    assert store.intend(in_group(4)) == store.job(second.jid)
    store.save([over(second)])
    assert turn(store, third)


def test_a_queued_job_that_needs_its_owner_is_passed_over(store: Store) -> None:
    absent, next_one = in_group(1, status="queued", needs_owner=True), in_group(2, status="queued")
    for record in (absent, next_one):
        assert store.intend(record) is None
        store.save([Change(record, {})])

    assert turn(store, next_one)
    assert (store.intend(in_group(3)), turn(store, absent)) == (store.job(next_one.jid), False)
    store.save([over(next_one)])
    assert store.claim(absent.jid)
    assert turn(store, absent)


def test_a_sequence_holds_its_group_while_it_needs_its_owner_too(store: Store) -> None:
    sequence, queued = in_group(1, status="running"), in_group(2, status="queued")
    assert store.intend(sequence) is None
    waiting = dataclasses.replace(sequence, needs_owner=True)
    store.save([Change(waiting, {})])

    assert (store.intend(in_group(3)), store.intend(queued)) == (waiting, None)
    assert not store.advance(dataclasses.replace(queued, status="running"))
    store.save([over(waiting)])
    assert store.advance(dataclasses.replace(queued, status="running"))
    assert store.intend(in_group(3)) == dataclasses.replace(queued, status="running")


@pytest.mark.parametrize("callers", [8])
def test_of_many_at_once_in_one_group_one_goes_first(store: Store, callers: int) -> None:
    found = intended_at_once(store, [in_group(number) for number in range(callers)])

    assert found.count(None) == 1
    assert len(store.unfinished()) == 1
