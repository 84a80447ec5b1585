"""All attacks, in the order of their points: `make attack` and the test take them from here."""

from __future__ import annotations

from tests.attack import bodies, bus, busy, floods, people, rights

ATTACKS = sorted(
    [*rights.ATTACKS, *floods.ATTACKS, *bodies.ATTACKS, *bus.ATTACKS, *people.ATTACKS, *busy.ATTACKS],
    key=lambda attack: int(attack.point[1:]),
)
