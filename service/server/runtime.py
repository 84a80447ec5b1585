"""What we ask of the C library's malloc: that memory which is free goes back."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

# glibc's variables, which win over us, with the numbers of the same in malloc.h and what we set.
# By default each thread may get an arena of its own, up to eight for each core, and what was freed in one is of no use to the others. Python's lock lets
# one thread run at a time, so two are enough. Blocks from this size on, large answers, are mapped by themselves and given back at once when they are
# freed; without a word from us glibc raises that size to that of the largest block it has seen.
_OPTIONS = {"MALLOC_ARENA_MAX": (-8, 2), "MALLOC_MMAP_THRESHOLD_": (-3, 128 * 1024)}

Mallopt = Callable[[int, int], object]


def tame_malloc(environ: Mapping[str, str], mallopt: Mallopt | None = None) -> None:
    """Keep malloc small, where it is glibc's and the operator has not told it otherwise. Call it before there are threads."""
    mallopt = mallopt or getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or "glibc.malloc" in environ.get("GLIBC_TUNABLES", ""):
        return
    for name, (parameter, value) in _OPTIONS.items():
        if name not in environ:
            mallopt(parameter, value)
