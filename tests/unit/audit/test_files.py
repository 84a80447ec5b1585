"""The audit file and its chain: over renames, restarts, full disks and torn lines, and what the verifier finds."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from service.audit.chain import START, Chain, Verifier
from service.audit.sinks import FileSink


def record(number: int) -> bytes:
    return b'{"n":%d}' % number


def sink(path: Path) -> FileSink:
    return FileSink(path, chained=True, fsync=True)


def broken(*files: Path) -> str | None:
    verifier = Verifier()
    for file in files:
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            if wrong := verifier.take(line):
                return f"{file.name}:{number} {wrong}"
    return None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def test_lines_are_numbered_and_carry_the_hash_of_the_line_before(path: Path) -> None:
    one = sink(path)
    one.write([record(1), record(2)])
    one.write([record(3)])
    lines = [json.loads(line) for line in path.read_text().splitlines()]

    assert [(line["n"], line["seq"]) for line in lines] == [(1, 1), (2, 2), (3, 3)]
    assert lines[0]["prev"] == START
    assert path.stat().st_mode & 0o777 == 0o600
    assert broken(path) is None
    one.close()


def test_the_chain_goes_on_after_a_restart_and_in_a_new_file(path: Path) -> None:
    sink(path).write([record(1)])
    restarted = sink(path)
    restarted.write([record(2)])
    old = path.rename(path.with_suffix(".1"))
    restarted.write([record(3)])
    restarted.write([record(4)])
    path.unlink()
    restarted.write([record(5)])

    assert [json.loads(line)["seq"] for line in old.read_text().splitlines()] == [1, 2]
    assert json.loads(path.read_text())["seq"] == 5
    assert path.stat().st_mode & 0o777 == 0o600
    assert broken(old) is None
    assert broken(old, path) == "audit.jsonl:1 does not follow the line before it: 2 lines are missing"


def test_a_file_put_in_our_files_place_is_continued(path: Path) -> None:
    one = sink(path)
    one.write([record(1)])
    other = path.with_suffix(".other")
    sink(other).write([record(7), record(8)])
    other.replace(path)
    one.write([record(9)])

    assert broken(path) is None
    assert len(path.read_text().splitlines()) == 3


def test_the_verifier_finds_what_was_done_to_a_file(path: Path) -> None:
    sink(path).write([record(number) for number in range(5)])
    lines = path.read_bytes().splitlines(keepends=True)
    cases = {
        "2 does not follow the line before it: 1 lines are missing": [lines[0], *lines[2:]],
        "3 does not follow the line before it": [lines[0], lines[1].replace(b'"n":1', b'"n":7'), *lines[2:]],
        "4 is no complete record of a chain": [*lines[:3], lines[3][:20] + b"\n", lines[4]],
        "3 is no complete record of a chain": [*lines[:2], b"garbage \xff\n", *lines[2:]],
        "2 does not follow the line before it: 2 lines are missing": [lines[0], lines[3], lines[4]],
        "6 begins a new chain": [*lines, Chain().extended([record(1)])[0][0]],
    }
    for wrong, changed in cases.items():
        path.write_bytes(b"".join(changed))
        assert broken(path) == f"audit.jsonl:{wrong}"
    path.write_bytes(b"")
    assert broken(path) is None


def test_a_line_torn_by_a_crash_spoils_no_other(path: Path) -> None:
    sink(path).write([record(1), record(2)])
    path.write_bytes(path.read_bytes()[:-30])
    sink(path).write([record(3)])
    lines = path.read_bytes().splitlines()

    assert len(lines) == 3
    assert json.loads(lines[2])["n"] == 3
    assert broken(path) == "audit.jsonl:2 is no complete record of a chain"


def test_a_piece_that_a_full_disk_took_is_cut_off_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = sink(path)
    one.write([record(1)])
    write = os.write
    taken = [10]

    def full(fd: int, data: bytes) -> int:
        if not taken:
            raise OSError(28, "No space left on device")
        return write(fd, bytes(data)[: taken.pop()])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="space"):
            one.write([record(2)])
        with pytest.raises(OSError, match="space"):
            one.write([record(2)])
    one.write([record(3)])

    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [1, 3]
    assert broken(path) is None


def test_what_cannot_be_written_is_an_error_and_works_again_when_it_can(path: Path) -> None:
    one = sink(path / "audit")
    for wrong in (one, sink(Path("/dev/full")), sink(path.parent)):
        with pytest.raises(OSError, match=r"\[Errno"):
            wrong.write([record(1)])
    os.mkfifo(path.with_suffix(".pipe"))
    with pytest.raises(OSError, match=r"\[Errno"):
        sink(path.with_suffix(".pipe")).write([record(1)])
    path.mkdir()
    one.write([record(2)])

    assert json.loads((path / "audit").read_text())["seq"] == 1


def test_without_a_chain_a_record_is_the_whole_line(path: Path) -> None:
    FileSink(path, chained=False, fsync=False).write([record(1), record(2)])

    assert path.read_bytes() == record(1) + b"\n" + record(2) + b"\n"
    assert broken(path) == "audit.jsonl:1 is no complete record of a chain"
