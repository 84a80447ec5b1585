"""The runtime: what malloc is told, and by whom."""

from __future__ import annotations

import pytest

from service.server.runtime import tame_malloc


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, [(-8, 2), (-3, 131072)]),
        ({"MALLOC_ARENA_MAX": "4"}, [(-3, 131072)]),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"}, []),
    ],
)
def test_malloc_is_kept_small_unless_the_operator_told_it_otherwise(environ: dict[str, str], told: list[tuple[int, int]]) -> None:
    heard: list[tuple[int, int]] = []

    tame_malloc(environ, lambda parameter, value: heard.append((parameter, value)))

    assert heard == told
