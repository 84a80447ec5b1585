"""All attacks, in the order of their points: `make attack` and the test take them from here."""

from __future__ import annotations

from tests.attack import bodies, bus, busy, floods, over_ssh, people, rights

GROUPS = (rights, floods, bodies, bus, people, busy, over_ssh)
ATTACKS = sorted((attack for group in GROUPS for attack in group.ATTACKS), key=lambda attack: int(attack.point[1:]))
