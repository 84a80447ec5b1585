"""The kinds of values that options have, and the base of every section of the settings."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

# A reloadable option takes effect on SIGHUP; the others need a restart. Who takes it stands in wiring/reloading.py; a test compares both.
RELOADABLE: dict[str, Any] = {"reloadable": True}

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Slots = Annotated[int, Field(ge=1, le=10_000)]
# A list; in the environment its words are parted by commas.
FromWords = BeforeValidator(lambda value: tuple(value.replace(",", " ").split()) if isinstance(value, str) else value)
Words = Annotated[tuple[str, ...], FromWords]


def _networks(names: tuple[str, ...]) -> tuple[str, ...]:
    """Check each name; `*` is every address."""
    try:
        for name in names:
            ip_network("::/0" if name == "*" else name, strict=False)
    except ValueError:
        raise ValueError("an entry is neither an address nor a network") from None
    return names


# Addresses and networks, such as 10.0.0.0/8 and 2001:db8::1.
Networks = Annotated[Words, AfterValidator(_networks)]


def _parsed(value: object) -> object:
    try:
        return yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError:
        raise ValueError("this is neither YAML nor JSON") from None


# A dictionary; in the environment it is written as YAML or JSON.
FromText = BeforeValidator(_parsed)
Origins = Annotated[Words, AfterValidator(lambda names: tuple(name.rstrip("/").lower() for name in names))]


class Group(BaseModel):
    """A section of the settings; unknown names are refused."""

    # Most are only ever a part of another one: built by themselves at each start they took a twentieth of its imports.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
