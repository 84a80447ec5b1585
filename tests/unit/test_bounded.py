"""The bounded mapping does what a list of pairs would, kept by hand."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from service.bounded import Bounded

KEYS = st.integers(0, 7)


@dataclasses.dataclass
class Model:
    """What it should hold, the entry set longest ago first."""

    most: int
    pairs: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    evicted: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    def put(self, key: int, value: int) -> None:
        self.pop(key)
        self.pairs.append((key, value))
        while len(self.pairs) > self.most:
            self.evicted.append(self.pairs.pop(0))

    def pop(self, key: int) -> None:
        self.pairs = [pair for pair in self.pairs if pair[0] != key]


@given(most=st.integers(0, 4), steps=st.lists(st.tuples(st.sampled_from(["put", "update", "setdefault", "pop", "read"]), KEYS)))
def test_it_holds_what_the_model_holds_in_the_same_order(most: int, steps: list[tuple[str, int]]) -> None:
    model = Model(most)
    evicted: list[tuple[int, int]] = []
    ours: Bounded[int, int] = Bounded(most, lambda key, value: evicted.append((key, value)))

    for value, (step, key) in enumerate(steps):
        if step == "pop":
            ours.pop(key, None)
            model.pop(key)
        elif step == "read":
            assert ours.get(key) == dict(model.pairs).get(key)
        elif step == "setdefault":
            if key not in ours:
                ours.setdefault(key, value)
                model.put(key, value)
        elif step == "update":
            ours.update({key: value})
            model.put(key, value)
        else:
            ours[key] = value
            model.put(key, value)
        assert list(ours.items()) == model.pairs

    assert evicted == model.evicted


def test_who_hears_of_an_eviction_finds_the_entry_gone() -> None:
    seen: list[list[str]] = []
    ours: Bounded[str, int] = Bounded(1, lambda _key, _value: seen.append(list(ours)))

    ours["a"] = 1
    ours["b"] = 2

    assert seen == [["b"]]
