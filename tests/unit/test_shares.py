"""Slots are shared: who asks for how many, from where, and who gets through."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Overloaded, ShareTaken, Throttled
from service.limits import Holder, Shares, Slots, slots_together

LIMIT, SHARE, STRANGERS = 8, 0.85, 4
shares = st.sampled_from([0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99])
limits = st.integers(1, 20)


@dataclasses.dataclass
class House:
    """Slots whose holders stay until the block ends, or one is let go."""

    slots: Slots
    stack: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)

    def ask(self, holder: Holder, times: int = 1) -> int:
        """Return how often somebody gets in."""
        return sum(self.enter(holder) is not None for _ in range(times))

    def enter(self, holder: Holder) -> contextlib.ExitStack | None:
        one = contextlib.ExitStack()
        try:
            one.enter_context(self.slots.take(holder))
        except (Overloaded, Throttled):
            return None
        return self.stack.enter_context(one)


def house(limit: int = LIMIT, share: float = SHARE) -> House:
    return House(Slots("jobs", limit, share=share, strangers=Shares("callers who have not authenticated", STRANGERS, share)))


def users(number: int, address: str = "a") -> list[Holder]:
    return [Holder(address, f"user {each}") for each in range(number)]


def from_everywhere(number: int, user: str = "user") -> list[Holder]:
    return [Holder(f"address {each}", user) for each in range(number)]


def strangers(number: int, address: str | None = None) -> list[Holder]:
    return [Holder(address or f"address {each}", f"user {each}", proven=False) for each in range(number)]


@pytest.mark.parametrize(
    ("first", "times", "later", "gets"),
    [
        pytest.param(users(1), 50, users(1), (8, 0), id="one user has its limit and no more"),
        pytest.param(users(1), 50, [Holder("a", "another")], (8, 1), id="another user at the same address"),
        pytest.param(users(1), 50, [Holder("b", "another")], (8, 2), id="another user elsewhere"),
        pytest.param(users(1), 50, [Holder("b", "user 0")], (8, 0), id="the same user elsewhere"),
        pytest.param(from_everywhere(50), 50, [Holder("b", "another")], (8, 2), id="one user from 50 addresses, another user"),
        pytest.param(users(8), 1, users(1), (8, 1), id="eight users behind one address, one call each: none is throttled"),
        pytest.param(users(50), 50, [Holder("b", "another")], (10, 1), id="50 users behind one address take what they can: another address"),
        pytest.param(strangers(50, "a"), 50, users(1), (5, 8), id="a flood of strangers: a user at their address has its limit"),
        pytest.param(strangers(50), 50, users(1), (6, 8), id="strangers from everywhere: a user has its limit"),
        pytest.param(strangers(50, "a"), 50, strangers(1, "b"), (5, 1), id="a flood of strangers: a stranger from elsewhere"),
        pytest.param(strangers(1, "a"), 50, [Holder("a", "user 9", proven=False)], (4, 1), id="a flood in one name: another stranger there"),
        pytest.param(users(1), 50, strangers(1, "b"), (8, 0), id="who only says that it is a user that has its limit"),
        pytest.param(users(1), 50, [Holder("b", "another", proven=False)], (8, 3), id="a stranger beside a user that has its limit"),
    ],
)
def test_who_gets_through(first: Iterable[Holder], times: int, later: Iterable[Holder], gets: tuple[int, int]) -> None:
    with (here := house()).stack:
        taken = sum(here.ask(each, times) for each in first)

        assert (taken, sum(here.ask(each, 50 if each.proven else 3) for each in later)) == gets


@given(limits, shares)
def test_one_alone_has_its_limit_and_everybody_else_still_gets_in(limit: int, share: float) -> None:
    with (here := house(limit, share)).stack:
        assert here.ask(Holder("a", "hog"), limit + 3) == limit
        assert here.ask(Holder("a", "neighbour")) == 1
        for each in users(3 * limit):
            here.ask(each)
        assert here.ask(Holder("b", "hog")) == 0
        assert here.ask(Holder("b", "another")) == 1


@pytest.mark.costly
@given(limits, shares, st.data())
def test_nobody_is_refused_while_fewer_than_the_limit_are_taken(limit: int, share: float, data: st.DataObject) -> None:
    asks = st.lists(st.builds(Holder, st.sampled_from("abc"), st.sampled_from("uvwxyz")), min_size=limit, max_size=limit)
    with (here := house(limit, share)).stack:
        assert [here.ask(each) for each in data.draw(asks)] == [1] * limit


@pytest.mark.costly
@given(limits, shares, st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(1, 20)), max_size=10))
def test_strangers_change_nothing_for_who_has_authenticated(limit: int, share: float, asks: list[tuple[str, str, int]]) -> None:
    alone, crowded = house(limit, share), house(limit, share)
    with alone.stack, crowded.stack:
        for address, user, times in asks:
            here = Holder(address, user)
            crowded.ask(dataclasses.replace(here, proven=False), times)

            assert crowded.ask(here, times) == alone.ask(here, times)


@given(limits, shares, st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(1, 20)), max_size=8))
def test_there_are_never_more_than_there_are_threads_for(limit: int, share: float, asks: list[tuple[str, str, int]]) -> None:
    with (here := house(limit, share)).stack:
        assert sum(here.ask(Holder(address, user), times) for address, user, times in asks) <= slots_together(limit, share)


@pytest.mark.costly
@pytest.mark.parametrize("address", ["a", "b"])
def test_who_held_everything_gives_way_as_its_work_ends(address: str) -> None:
    here = house(100)
    hog, late = Holder("a", "hog"), Holder(address, "late")
    with here.stack:
        of_hog = [here.enter(hog) for _ in range(100)]
        of_late = [here.enter(late) for _ in range(100)]
        for _ in range(300):
            for holder, held in ((hog, of_hog), (late, of_late)):
                held[:] = [each for each in held if each is not None]
                held.pop(0).close()  # type: ignore[union-attr]
                held += [here.enter(holder) for _ in range(10)]
        mine, yours = (sum(each is not None for each in held) for held in (of_hog, of_late))

    assert abs(mine - yours) <= 5
    assert mine > 40


def test_a_stranger_that_has_authenticated_holds_a_slot_and_no_longer_one_of_the_strangers() -> None:
    stranger = Holder("a", "new", proven=False)
    with (here := house(STRANGERS)).stack:
        for _ in range(STRANGERS):
            welcome = here.stack.enter_context(here.slots.take(stranger))
            assert welcome is not None
            welcome("new")
            welcome("new")

        assert here.ask(Holder("a", "new")) == here.ask(stranger) == 0
        assert here.ask(Holder("a", "other", proven=False), STRANGERS) == STRANGERS


def test_who_is_refused_is_told_why_and_when_to_come_back() -> None:
    with (here := house()).stack:
        here.ask(Holder("a", "hog"), 7)
        here.ask(Holder("b", "another"), 50)
        with pytest.raises(ShareTaken, match=r"limits\.share") as over, here.slots.take(Holder("b", "another")):
            pass
        for each in strangers(50):
            here.ask(dataclasses.replace(each, proven=True))
        with pytest.raises(Overloaded, match="all 8 slots for jobs are taken") as full, here.slots.take(Holder("b", "another")):
            pass
    (stranger,) = strangers(1)
    with (here := house()).stack:
        here.ask(stranger, 50)
        with pytest.raises(Throttled, match="have not authenticated") as throttled, here.slots.take(stranger):
            pass

    assert [caught.value.retry_after_seconds for caught in (over, full, throttled)] == [1, 1, 1]
