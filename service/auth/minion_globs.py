"""Globs on minion ids, and what can be said of the minions that a target hits without asking who they are."""

from __future__ import annotations

import enum
import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence

# Longest target with wildcards that is compared.
MOST_CHARACTERS = 128
ALL = "*"
ONE = "?"
# A part of a glob: several stars, which are as good as one, a set of characters, as fnmatch reads it, or a character.
_PART = re.compile(r"\*+|\[(?:!\][^\]]*|![^\]]+|\][^\]]*|[^\]!][^\]]*)\]|.", re.DOTALL)
_WILD = re.compile(r"[*?\[]")


class Fit(enum.IntEnum):
    """Whether a condition of a rule holds."""

    NO = 0
    UNSURE = 1
    YES = 2


class MinionGlobs:
    """
    A set of minions, named by globs on their ids; upper and lower case are the same, as they are to minions on Windows.

    Only targets of the types `glob` and `list` are compared with it: which minions the others hit depends on what those are.
    """

    def __init__(self, globs: Iterable[str]) -> None:
        globs = tuple(globs)
        self._all = ALL in globs
        self._globs = [MinionGlob(glob) for glob in globs]
        self._has = re.compile("|".join(map(fnmatch.translate, globs)), re.IGNORECASE).match

    def fit(self, tgt: str | Sequence[str], tgt_type: str) -> Fit:
        """Say whether all minions that a target could hit are in the set (YES), or none of them (NO)."""
        if self._all:
            return Fit.YES
        if tgt_type == "list":
            return self._fit_ids(_ids(tgt))
        if tgt_type != "glob":
            return Fit.UNSURE
        return self._fit_glob(str(tgt)) if _WILD.search(str(tgt)) else self._fit_ids({str(tgt)})

    def _fit_ids(self, ids: set[str]) -> Fit:
        inside = {self._has(minion) is not None for minion in ids}
        return Fit.NO if True not in inside else Fit.YES if False not in inside else Fit.UNSURE

    def _fit_glob(self, tgt: str) -> Fit:
        if len(tgt) > MOST_CHARACTERS or not tgt.isascii():
            return Fit.UNSURE
        if any(glob.covers(tgt) for glob in self._globs):
            return Fit.YES
        return Fit.UNSURE if any(glob.meets(tgt) for glob in self._globs) else Fit.NO


class MinionGlob:
    """
    One glob, compared with others by walking along both at one time.

    A bit for each part, and one for the end, says where the walk may be. So it takes a few steps for each character of the other glob, which anybody may send.
    """

    def __init__(self, glob: str) -> None:
        self._text = glob.lower()
        self._parts = _parts(glob)
        self._stars = self._where(lambda part: part == ALL)
        self._ones = self._where(lambda part: part == ONE)
        self._anywhere = (2 << len(self._parts)) - 1
        self._takers: dict[str, int] = {}  # by character of ASCII, made when they are needed

    def covers(self, other: str) -> bool:
        """Say whether it certainly matches all that another one does: each part of this is taken by a part of that, and `*` by a `*`."""
        if other.lower() == self._text:
            return True
        at = self._past_stars(1)
        for part in _parts(other):
            at = self._step(at, self._stars if part == ALL else self._stars | self._ones if _is_any(part) else self._takers_of(part))
        return bool(at >> len(self._parts))

    def meets(self, other: str) -> bool:
        """Say whether both may match the same id."""
        at = self._past_stars(1)
        for part in _parts(other):
            # Whatever follows here may be what a `*` there stands for.
            at = self._anywhere & -(at & -at) if part == ALL else self._step(at, self._anywhere if _is_any(part) else self._takers_of(part))
        return bool(at >> len(self._parts))

    def _step(self, at: int, takers: int) -> int:
        """Walk on past a character that some parts take; a `*` may take more of them."""
        taken = at & takers & (self._anywhere >> 1)
        return self._past_stars((taken & self._stars) | ((taken & ~self._stars) << 1))

    def _past_stars(self, at: int) -> int:
        return at | (at & self._stars) << 1

    def _takers_of(self, character: str) -> int:
        found = self._takers.get(character)
        if found is None:
            found = self._takers[character] = self._where(lambda part: part in {ALL, ONE, character} or (_is_set(part) and _in_set(character, part)))
        return found

    def _where(self, is_so: Callable[[str], bool]) -> int:
        return sum(1 << index for index, part in enumerate(self._parts) if is_so(part))


def _ids(tgt: str | Sequence[str]) -> set[str]:
    """Return the ids in a list, which in a text are parted by commas."""
    return {one.strip() for text in ([tgt] if isinstance(tgt, str) else tgt) for one in text.split(",") if one.strip()}


def _parts(glob: str) -> list[str]:
    return [ALL if part[0] == ALL else part if _is_set(part) else part.lower() for part in _PART.findall(glob)]


def _is_set(part: str) -> bool:
    return part[0] == "[" and len(part) > 1


def _is_any(part: str) -> bool:
    """Say whether a part of a target may be any character: of a set, no more is asked."""
    return part == ONE or _is_set(part)


def _in_set(character: str, part: str) -> bool:
    return re.match(fnmatch.translate(part), character, re.IGNORECASE) is not None
