"""Limits: slots are refused at once when taken, and an allowance of failures grows back by the clock."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Overloaded
from service.limits import Brake, Holder, Slots

ME = Holder("192.0.2.1/32", "user pam:me")


def test_a_slot_is_free_again_after_its_block() -> None:
    slots = Slots("sync jobs", 1)
    with slots.take(ME):
        pass
    with pytest.raises(ZeroDivisionError), slots.take(ME):
        raise ZeroDivisionError
    with slots.take(ME):
        pass


def test_work_over_the_limit_is_refused_at_once_and_told_when_to_come_back() -> None:
    slots = Slots("sync jobs", 2, retry_after_seconds=3)
    with slots.take(ME), slots.take(ME):
        with pytest.raises(Overloaded, match="all 2 slots for sync jobs are taken") as caught, slots.take(ME):
            pass

        assert caught.value.retry_after_seconds == 3


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_failures_up_to_the_burst_are_free_and_then_there_is_a_wait() -> None:
    brake = Brake(2, 6, monotonic=Clock())

    assert [brake.take("a") for _ in range(4)] == [0, 0, 10, 10]
    assert brake.take("b") == 0


def test_the_allowance_grows_back_up_to_the_burst() -> None:
    clock = Clock()
    brake = Brake(2, 6, monotonic=clock)
    brake.take("a")
    brake.take("a")
    clock.now += 10
    assert [brake.take("a"), brake.take("a")] == [0, 10]
    clock.now += 3600
    assert [brake.take("a") for _ in range(3)] == [0, 0, 10]


def test_what_is_given_back_was_never_taken() -> None:
    brake = Brake(1, 6, monotonic=Clock())
    for _ in range(10):
        assert brake.take("a") == 0
        brake.give_back("a")
    brake.give_back("a")

    assert (brake.take("a"), brake.take("a")) == (0, 10)


def test_a_changed_allowance_applies_from_now_on() -> None:
    brake = Brake(1, 6, monotonic=Clock())
    brake.take("a")
    brake.adjust(3, 60)

    assert brake.take("a") == 1
    assert [brake.take("b") for _ in range(4)] == [0, 0, 0, 1]


def test_keys_that_nobody_uses_any_more_are_forgotten_first() -> None:
    brake = Brake(1, 6, monotonic=Clock(), most_keys=3)
    for key in ("a", "b", "c", "d", "e"):
        brake.take(key)

    assert [brake.wait(key) for key in ("a", "b", "c", "d", "e")] == [0, 0, 10, 10, 10]
    assert (brake.take("e"), brake.take("a")) == (10, 0)


def test_a_key_whose_allowance_is_whole_takes_no_memory() -> None:
    brake = Brake(1, 6, monotonic=Clock(), most_keys=2)
    for key in ("a", "b"):
        brake.take(key)
    brake.give_back("b")
    brake.take("c")

    assert [brake.wait(key) for key in ("a", "b", "c")] == [10, 0, 10]


@dataclasses.dataclass
class Model:
    """One bucket, filled step by step."""

    burst: int
    per_second: float
    left: float

    def pass_time(self, seconds: float) -> None:
        self.left = min(self.burst, self.left + seconds * self.per_second)


@given(
    st.integers(1, 5),
    st.sampled_from([6.0, 60.0, 0.5]),
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["take", "give back"]), st.integers(0, 30)), max_size=30),
)
def test_any_sequence_goes_as_in_a_bucket_filled_step_by_step(burst: int, per_minute: float, acts: list[tuple[str, str, int]]) -> None:
    clock = Clock()
    brake = Brake(burst, per_minute, monotonic=clock)
    models = {key: Model(burst, per_minute / 60, burst) for key in "ab"}
    for key, act, seconds in acts:
        clock.now += seconds
        for model in models.values():
            model.pass_time(seconds)
        model = models[key]
        if act == "give back":
            brake.give_back(key)
            model.left = min(burst, model.left + 1)
            continue
        if abs(model.left - round(model.left)) < 1e-6:
            # Both add floats, in another order; a whole number may come out a hair apart.
            model.left = round(model.left)
        wait = brake.take(key)

        assert wait == 0 or math.isclose(wait, math.ceil((1 - model.left) / model.per_second), abs_tol=1.01)
        if model.left > 1 + 1e-6 or model.left < 1 - 1e-6:
            assert (wait == 0) == (model.left >= 1)
        model.left -= wait == 0


@given(st.integers(1, 3), st.floats(0.1, 600))
def test_whoever_waits_as_told_is_let_through(burst: int, per_minute: float) -> None:
    clock = Clock()
    brake = Brake(burst, per_minute, monotonic=clock)
    while not (wait := brake.take("a")):
        pass
    clock.now += wait + 1e-3

    assert brake.take("a") == 0
