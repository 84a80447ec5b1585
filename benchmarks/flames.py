"""A flame graph of sampled stacks, as an SVG without scripts: what a page shows as a picture, with all figures in its tooltips."""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from html import escape

WIDTH, ROW, HEAD, LETTER = 1200, 16, 44, 6.7
# Narrower than this nobody can see; thousands of them make a large file.
NARROWEST = 0.5

Stack = tuple[str, ...]
THREAD = re.compile(r"thread \((\d+)\):? ?(.*)")


@dataclasses.dataclass
class Frame:
    """One function where it was called from, with the CPU time that went there."""

    name: str
    ms: float = 0.0
    calls: dict[str, Frame] = dataclasses.field(default_factory=dict)


def stacks_of(raw: str, threads: Mapping[int, tuple[str, float]]) -> Iterator[tuple[Stack, float]]:
    """
    Yield the stacks of py-spy's `raw` format, each with its part of the CPU time of its thread.

    A profiler sees some threads less often than they work; the kernel knows how long they did. threads: their names and milliseconds by number.
    The first of a stack is its thread, without a number: threads that do the same are one. Lines of one function are one as well.
    """
    found = [(THREAD.fullmatch(thread), frames, int(count)) for thread, frames, count in map(_split, raw.splitlines())]
    seen: Counter[int] = Counter()
    for thread, _, count in found:
        seen[int(thread[1]) if thread else 0] += count
    for thread, frames, count in found:
        number = int(thread[1]) if thread else 0
        name = re.sub(r"-\d+$", "-*", thread[2]) if thread else "?"
        yield (name, *(re.sub(r":\d+\)$", ")", frame) for frame in frames)), threads.get(number, ("", 0.0))[1] * count / seen[number]
    for number, (name, ms) in threads.items():
        if number not in seen:
            yield (f"{name}, no Python",), ms


def _split(line: str) -> tuple[str, list[str], str]:
    stack, _, count = line.rpartition(" ")
    thread, *frames = stack.split(";")
    return thread, frames, count


def tree_of(stacks: Iterable[tuple[Stack, float]]) -> Frame:
    """Put stacks together where they begin alike."""
    root = Frame("all")
    for stack, ms in stacks:
        root.ms += ms
        frame = root
        for name in stack:
            frame = frame.calls.setdefault(name, Frame(name))
            frame.ms += ms
    return root


def draw(root: Frame, title: str, subtitle: str) -> str:
    """Return the SVG: callers above what they call, the widest first."""
    boxes = list(_boxes(root, 0, 0.0, WIDTH / max(1.0, root.ms), root.ms))
    height = HEAD + ROW * (1 + max(depth for depth, _ in boxes))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fffdf5"/>',
        f'<text x="{WIDTH / 2}" y="18" font-size="15" text-anchor="middle">{escape(title)}</text>',
        f'<text x="{WIDTH / 2}" y="35" fill="#555555" text-anchor="middle">{escape(subtitle)}</text>',
    )
    return "\n".join([*head, *(text for _, text in boxes), "</svg>"]) + "\n"


def _boxes(frame: Frame, depth: int, x: float, scale: float, total: float) -> Iterator[tuple[int, str]]:
    width = frame.ms * scale
    if depth and width < NARROWEST:
        return
    yield depth, _box(frame, HEAD + ROW * depth, x, width, 100 * frame.ms / max(1.0, total))
    for called in sorted(frame.calls.values(), key=lambda one: (-one.ms, one.name)):
        yield from _boxes(called, depth + 1, x, scale, total)
        x += called.ms * scale


def _box(frame: Frame, y: int, x: float, width: float, percent: float) -> str:
    mark = zlib.crc32(frame.name.encode())
    colour = f"hsl({20 + mark % 35},{75 + mark % 20}%,{66 + mark % 10}%)"
    fitting = int(width / LETTER)
    label = frame.name if len(frame.name) <= fitting else frame.name[: fitting - 2] + ".." if fitting > 4 else ""
    text = f'<text x="{x + 2:.1f}" y="{y + 12}">{escape(label)}</text>' if label else ""
    tip = f"<title>{escape(frame.name)}: {percent:.2f} %, {frame.ms:,.0f} ms</title>"
    return f'<g>{tip}<rect x="{x:.1f}" y="{y}" width="{max(0.3, width - 0.3):.1f}" height="{ROW - 1}" fill="{colour}"/>{text}</g>'
