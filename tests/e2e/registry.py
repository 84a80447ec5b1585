"""A registry on the engine, so that the base image has a digest, as one of a real registry has."""

from __future__ import annotations

import contextlib
import dataclasses
import json

from tests.e2e import standins
from tests.e2e.engine import Engine
from tests.e2e.shell import StepFailed, eventually

NAME = "registry"


@dataclasses.dataclass(frozen=True)
class Base:
    """The base image as our Dockerfile is told of it."""

    name: str
    digest: str

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return words for `docker build`."""
        return ("--build-arg", f"PYTHON_IMAGE={self.name}", "--build-arg", f"PYTHON_DIGEST={self.digest}")


def start(engine: Engine) -> None:
    """Start it, and put the base image there."""
    engine.docker("run", "--detach", f"--name={NAME}", "--publish=127.0.0.1::5000", standins.REGISTRY)
    address = engine.docker("port", NAME, "5000/tcp").split()[0]
    name = f"{address}/{standins.BASE.partition('/')[2]}"
    engine.docker("tag", standins.BASE, name)
    eventually("the registry takes the base image", lambda: _pushed(engine, name))


def stop(engine: Engine) -> None:
    """End it, if it is there; from then on nothing is built on the base any more."""
    engine.docker("rm", "--force", NAME, ok=(0, 1))


def base(engine: Engine) -> Base:
    """Return what the registry calls the base image."""
    facts = json.loads(engine.docker("image", "inspect", standins.BASE))[0]
    (name,) = (tag for tag in facts["RepoTags"] if tag != standins.BASE)
    (digest,) = facts["RepoDigests"]
    return Base(name, digest.partition("@")[2])


def _pushed(engine: Engine, name: str) -> bool:
    with contextlib.suppress(StepFailed):
        engine.docker("push", name)
        return True
    return False
