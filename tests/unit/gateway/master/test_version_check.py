"""What the master's sockets tell of its Salt."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from service.gateway.master.version_check import STALE_SECONDS, master_differs

OLDER = ("master_event_pub.ipc", "workers.ipc")
NEWER = ("master_event_pub.ipc", "workers-default.ipc")


def sockets(tmp_path: Path, *names: str) -> str:
    for name in names:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(tmp_path / name))
    return str(tmp_path / "master_event_pub.ipc")


def test_a_master_of_another_series_is_told_by_its_sockets(tmp_path: Path) -> None:
    older, newer = tmp_path / "o", tmp_path / "n"
    older.mkdir()
    newer.mkdir()
    buses = {"older": sockets(older, *OLDER), "newer": sockets(newer, *NEWER)}
    (newer / "workers.ipc").touch()

    assert master_differs(buses["older"], "3007.15") == master_differs(buses["newer"], "3008.3") == ""
    assert "older than 3008, ours is 3008.3" in master_differs(buses["older"], "3008.3")
    assert "3008 or newer, ours is 3006.28" in master_differs(buses["newer"], "3006.28")


def test_what_an_earlier_master_left_does_not_count(tmp_path: Path) -> None:
    bus = sockets(tmp_path, *NEWER)
    stale = (tmp_path / "workers-default.ipc").stat().st_mtime - STALE_SECONDS - 1
    os.utime(tmp_path / "workers-default.ipc", (stale, stale))

    assert master_differs(bus, "3007.15") == ""
    sockets(tmp_path, "workers.ipc")
    assert "older than 3008" in master_differs(bus, "3008.3")


def test_when_one_cannot_tell_there_is_no_warning(tmp_path: Path) -> None:
    assert master_differs(None, "3008.3") == ""
    assert master_differs(str(tmp_path / "master_event_pub.ipc"), "3008.3") == ""
    assert master_differs(sockets(tmp_path, *OLDER), "3008.3", pools=False) == ""
