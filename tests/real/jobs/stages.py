"""What the stories of pipelines have in common: a stage that is set up as one and taken down as one, and what its scenes come to."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

P = TypeVar("P")


class StageSet(contextlib.ExitStack, abc.ABC):
    """A stage; whatever fails while it is set up, nothing of it stays."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    @abc.abstractmethod
    def _start(self) -> None:
        """Set it up, with what is to be taken down again on this stack."""


@dataclasses.dataclass(frozen=True)
class Played:
    """What came of a scene. ran: how often its job was begun on the two minions, all together."""

    code: int
    ran: int
    log: str


@dataclasses.dataclass(frozen=True)
class StepScene(Generic[P]):
    """One thing that happens to a pipeline's step. play: plays it. code, ran: what it comes to, as of Played."""

    title: str
    play: P
    code: int
    ran: int = 0
