"""The records of malformed requests: bounded by minute and address, and none is lost from the count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.audit.refusals import MOST_ADDRESSES, OTHERS, SHARES, WINDOW_SECONDS, Refusals

MOST = 20


def test_a_flood_from_one_address_takes_its_share_and_hides_nobody_else() -> None:
    refusals = Refusals(MOST)

    assert sum(refusals.admit("flood") for _ in range(1000)) == MOST // SHARES
    assert refusals.admit("other")
    assert refusals.settle(at_once=True) == {"flood": 1000 - MOST // SHARES}


def test_a_new_minute_brings_a_new_allowance_and_the_count_of_the_last() -> None:
    now = [0.0]
    refusals = Refusals(MOST, monotonic=lambda: now[0])
    for _ in range(10):
        refusals.admit("a")
    before = refusals.settle()
    now[0] = WINDOW_SECONDS

    assert before == {}
    assert refusals.settle() == {"a": 10 - MOST // SHARES}
    assert refusals.admit("a")
    assert refusals.settle(at_once=True) == {}


def test_addresses_without_end_are_counted_in_bounded_memory() -> None:
    refusals = Refusals(MOST)
    for number in range(MOST + MOST_ADDRESSES + 500):
        refusals.admit(str(number))
    counted = refusals.settle(at_once=True)

    assert len(counted) == MOST_ADDRESSES + 1
    assert counted[OTHERS] == 500


@given(st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.floats(0, WINDOW_SECONDS)), max_size=200))
def test_every_refusal_is_recorded_or_counted_and_no_minute_has_too_many(refused: list[tuple[str, float]]) -> None:
    now = [0.0]
    refusals = Refusals(10, monotonic=lambda: now[0])
    recorded: list[float] = []
    counted = 0
    for address, pause in refused:
        now[0] += pause
        counted += sum(refusals.settle().values())
        recorded += [now[0]] if refusals.admit(address) else []
    counted += sum(refusals.settle(at_once=True).values())

    assert len(recorded) + counted == len(refused)
    # A window may end in the middle of any minute, which then has records of two.
    assert all(sum(at <= other < at + WINDOW_SECONDS for other in recorded) <= 20 for at in recorded)
