"""The runtime: the settings of malloc and who may change them; the collector, which waits for the end of the start; what systemd is told."""

from __future__ import annotations

import gc
import secrets
import socket
from pathlib import Path

import pytest

from service.server.runtime import NO_THREAD_CACHE, tame_collector, tame_malloc, tell_systemd


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, [(-8, 2), (-3, 131072)]),
        ({"MALLOC_ARENA_MAX": "4"}, [(-3, 131072)]),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"}, []),
        ({"GLIBC_TUNABLES": f"{NO_THREAD_CACHE}:glibc.malloc.arena_max=4"}, []),
        ({"GLIBC_TUNABLES": NO_THREAD_CACHE}, [(-8, 2), (-3, 131072)]),
    ],
)
def test_malloc_is_kept_small_unless_the_operator_told_it_otherwise(environ: dict[str, str], told: list[tuple[int, int]]) -> None:
    heard: list[tuple[int, int]] = []

    tame_malloc(environ, lambda parameter, value: heard.append((parameter, value)))

    assert heard == told


@pytest.mark.costly
def test_after_the_start_garbage_is_looked_for() -> None:
    before = gc.get_threshold()
    gc.disable()
    try:
        tame_collector()

        assert gc.isenabled()
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.set_threshold(*before)
        gc.enable()


def test_systemd_is_told_at_the_address_it_gave(tmp_path: Path) -> None:
    name = secrets.token_hex(8)
    for address, bound in ((str(tmp_path / "notify"), str(tmp_path / "notify")), (f"@{name}", f"\0{name}")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(bound)

            tell_systemd("READY=1", {"NOTIFY_SOCKET": address})

            assert systemd.recv(100) == b"READY=1", address


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nobody/listens"}])
def test_without_systemd_nobody_is_told_and_nothing_fails(environ: dict[str, str]) -> None:
    tell_systemd("READY=1", environ)
