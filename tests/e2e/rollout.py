"""The chart's StatefulSet, carried out with Docker: an upgrade to images that do not exist, and `helm rollback`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.e2e import images
from tests.e2e.engine import Engine
from tests.e2e.kubelet import Object, Pod
from tests.e2e.release import OPS_PORT, exchange, release
from tests.e2e.report import Report
from tests.e2e.shell import StepFailed, eventually, require
from tests.helm.stateful import StatefulSet

START_SECONDS = 600.0
NOWHERE = "of-a-typing-error"
KEY = "/etc/salt/pki/master/master.pem"


class OnePod:
    """Where the only pod of a StatefulSet runs."""

    def __init__(self, engine: Engine, name: str, objects: Iterable[Object], claims: Iterable[str]) -> None:
        self._engine, self._name, self._objects, self._claims = engine, name, list(objects), list(claims)
        self.pod: Pod | None = None
        self.waits_for = ""  # what the kubelet says of a pod that it cannot start

    def create(self, ordinal: int, template: Mapping[str, Any]) -> None:
        self.pod, self.waits_for = Pod(self._engine, f"{self._name}-{ordinal}", template["spec"], self._objects), ""
        try:
            self.pod.prepare(images.SALT, self._claims)
            self.pod.start()
        except StepFailed as exc:
            self.waits_for = str(exc)

    def delete(self, ordinal: int) -> None:
        if self.pod is None:
            raise StepFailed(f"there is no pod {ordinal}")
        if not self.waits_for:
            self.pod.terminate()
        self.pod.remove()
        self.pod = None

    def available(self, ordinal: int, min_ready_seconds: int) -> bool:
        require(min_ready_seconds == 0, f"pod {ordinal}: nobody counts the seconds here")
        ready = self.pod is not None and not self.waits_for and self.pod.probe("salt-master", "startupProbe")
        return ready and self.pod is not None and exchange(f"http://{self.pod.address}:{OPS_PORT}/readyz")[0] == 200


def rolled_back(engine: Engine, report: Report) -> None:
    """Install, upgrade to images that do not exist, roll back: the good pod is there again, with its claims."""
    good, broken = (release(engine.work, *tags) for tags in ((images.SIDECAR, images.SALT), (f"salt-sidecar:{NOWHERE}", f"salt:{NOWHERE}")))
    first, second = (made.rendered.of("StatefulSet")["spec"] for made in (good, broken))
    pods = OnePod(engine, "rollout", good.objects, [claim["metadata"]["name"] for claim in first["volumeClaimTemplates"]])
    with _removed(pods):
        release_set = StatefulSet(first, pods)
        release_set.settle()
        eventually("the pod is ready", lambda: pods.available(0, 0), START_SECONDS)
        marked = "/etc/salt/pki/of-the-first"
        _execute(pods, "touch", marked)
        release_set.apply(second)
        release_set.settle()
        require("No such image" in pods.waits_for, f"the pod waits for no image: {pods.waits_for}")
        release_set.apply(first)
        release_set.settle()
        eventually("the pod is ready again", lambda: pods.available(0, 0), START_SECONDS)
        _execute(pods, "ls", marked, KEY)
        report.found("rolled back from images that do not exist", "ready again, with its claims; nobody deleted a pod")


def _execute(pods: OnePod, *argv: str) -> None:
    if pods.pod is None:
        raise StepFailed("there is no pod")
    pods.pod.execute("salt-master", *argv)


@contextlib.contextmanager
def _removed(pods: OnePod) -> Iterator[None]:
    try:
        yield
    finally:
        if pods.pod:
            pods.pod.remove()
