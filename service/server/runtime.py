"""Settings of the C library's malloc and Python's garbage collector, and messages to systemd."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import socket
from collections.abc import Callable, Mapping

# glibc's variables, which win over us, with the numbers of the same in malloc.h and what we set.
# By default each thread may get an arena of its own, up to eight for each core, and what was freed in one is of no use to the others. Python's lock lets
# one thread run at a time, so two are enough. Blocks from this size on, large answers, are mapped by themselves and given back at once when they are
# freed; without a word from us glibc raises that size to that of the largest block it has seen.
_OPTIONS = {"MALLOC_ARENA_MAX": (-8, 2), "MALLOC_MMAP_THRESHOLD_": (-3, 128 * 1024)}

# In GLIBC_TUNABLES, since there is no call for it: what a thread has freed the others can use at once. By default each keeps some for itself, of a
# thousand threads that serve streams a quarter of all their memory. The systemd unit and the image start us with it.
NO_THREAD_CACHE = "glibc.malloc.tcache_count=0"

# Of new objects, until the youngest are looked through. A request makes some hundreds at a time and no cycles to speak of; Python's 700 means every few requests.
_YOUNG_OBJECTS = 5_000

Mallopt = Callable[[int, int], object]


def tame_malloc(environ: Mapping[str, str], mallopt: Mallopt | None = None) -> None:
    """Keep malloc small, where it is glibc's and the operator has not told it otherwise. Call it before there are threads."""
    mallopt = mallopt or getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or "glibc.malloc" in environ.get("GLIBC_TUNABLES", "").replace(NO_THREAD_CACHE, ""):
        return
    for name, (parameter, value) in _OPTIONS.items():
        if name not in environ:
            mallopt(parameter, value)


def tame_collector() -> None:
    """Collect from now on, and leave out what exists. Call it when all is loaded: Salt's modules are some 90,000 objects that stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
    gc.enable()


def tell_systemd(state: str, environ: Mapping[str, str]) -> None:
    """Send a state such as `READY=1`, if systemd started us as `Type=notify`. Source: sd_notify(3), where `@` stands for the NUL of an abstract socket."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # Whoever waits for our word in vain says so; it may also be another service's variable, which we only inherited.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.connect("\0" + address[1:] if address.startswith("@") else address)
        notified.send(state.encode())
