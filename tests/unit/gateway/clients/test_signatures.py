"""Signatures: which of a low's fields reach a function, and that functions are loaded late and once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from service.gateway.clients.signatures import Signature, Signatures, runner_arguments


def plain(first: object, second: object = None) -> None:
    """Take two."""


def anything(*args: object, **kwargs: object) -> None:
    """Take all."""


class Loader(dict[str, Callable[..., None]]):
    """Counts how often a function is looked up."""

    looked_up = 0

    def __getitem__(self, name: str) -> Callable[..., None]:
        self.looked_up += 1
        return super().__getitem__(name)


class Loads:
    """Makes loaders, and counts them."""

    def __init__(self) -> None:
        self.made = 0
        self.loader = Loader({"a.plain": plain, "a.anything": anything})

    def __call__(self) -> Loader:
        self.made += 1
        return self.loader


def test_nothing_is_loaded_before_the_first_question_and_everything_once() -> None:
    loads = Loads()
    signatures = Signatures(loads)
    before = loads.made
    answers = [signatures.of("a.plain") for _ in range(3)]

    assert (before, loads.made, loads.loader.looked_up) == (0, 1, 1)
    assert answers == [Signature(frozenset({"first", "second"}), any_keyword=False)] * 3


def test_a_function_that_is_not_here_has_no_signature_and_costs_no_memory() -> None:
    signatures = Signatures(Loads())
    signatures.of("no.such")
    tracemalloc.start()
    answers = [signatures.of(f"no.such{'x' * 10_000}{number}") for number in range(50)]
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert answers == [None] * 50
    assert kept < 50_000


def test_a_signature_accepts_its_names_or_all() -> None:
    signatures = Signatures(Loads())
    some, every = signatures.of("a.plain"), signatures.of("a.anything")

    assert some is not None
    assert every is not None
    assert [some.accepts("first"), some.accepts("third"), every.accepts("third")] == [True, False, True]


def fields() -> Iterator[tuple[dict[str, Any], Signature | None, tuple[list[Any], dict[str, Any]]]]:
    some = Signature(frozenset({"x", "y"}), any_keyword=False)
    every = Signature(frozenset(), any_keyword=True)
    yield {}, some, ([], {})
    yield {"arg": ["a", 1, {"b": 2}]}, some, (["a", 1, {"b": 2}], {})
    yield {"arg": ["x=1", "z=2"]}, some, ([], {"x": 1})
    yield {"arg": ["x=1"], "kwarg": {"x": 2, "z": 3}, "y": 4, "stray": 5}, some, ([], {"x": 2, "y": 4})
    yield {"kwarg": {"x": 1}, "stray": 5}, every, ([], {"x": 1, "stray": 5})
    yield {"kwarg": {"x": 1}, "stray": 5}, None, ([], {"x": 1, "stray": 5})


def test_fields_are_split_into_what_the_function_takes() -> None:
    for low_fields, signature, arguments in fields():
        assert runner_arguments(low_fields, signature) == arguments
