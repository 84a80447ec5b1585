"""Options that change in a running process: each goes to the object that applies it, which also says what was applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from service.settings.settings import Settings, value


class Applier:
    """
    Hands options over to somebody who can change in a running process.

    act: called at each reload. options: for each of its parameters the dotted name of the option it gets. It gets nothing else, so
    that an option that is not named here cannot be called applied.
    """

    def __init__(self, act: Callable[..., object], **options: str) -> None:
        self._act = act
        self._options = options
        self.takes = frozenset(options.values())

    def apply(self, ours: Settings) -> None:
        """Hand over the values of these settings."""
        self._act(**{parameter: value(ours, name) for parameter, name in self._options.items()})


def apply(appliers: Iterable[Applier], ours: Settings) -> frozenset[str]:
    """Hand the settings to each; return the dotted names of the options that were taken over."""
    taken: frozenset[str] = frozenset()
    for applier in appliers:
        applier.apply(ours)
        taken |= applier.takes
    return taken
