"""
What Kubernetes does with a StatefulSet and its pods, one decision after the other; a pod is whatever the caller makes of a template.

Source: Kubernetes' documentation, "StatefulSets" (pod management policies, update strategies, forced rollback) and "Update a StatefulSet";
pkg/controller/statefulset/stateful_set_control.go, updateStatefulSet. Partitions, several unavailable pods and scaling are left out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

MUTABLE = frozenset({"replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy", "minReadySeconds"})


class Forbidden(Exception):
    """The API server refuses a change of what cannot be changed."""


class Pods(Protocol):
    """Where pods run."""

    def create(self, ordinal: int, template: Mapping[str, Any]) -> None: ...
    def delete(self, ordinal: int) -> None: ...
    def available(self, ordinal: int, min_ready_seconds: int) -> bool:
        """Return whether the pod runs and has been ready for that long."""
        ...


class StatefulSet:
    """A StatefulSet as its controller sees it."""

    def __init__(self, spec: Mapping[str, Any], pods: Pods) -> None:
        self._spec = copy.deepcopy(dict(spec))
        self._pods = pods
        self._templates: dict[int, Any] = {}  # by ordinal; the revision of each pod

    def orphan(self, spec: Mapping[str, Any]) -> StatefulSet:
        """Delete the object and leave its pods, as `kubectl delete --cascade=orphan` does; return a new one, which finds them by their labels."""
        heir = StatefulSet(spec, self._pods)
        heir._templates = self._templates
        return heir

    def apply(self, spec: Mapping[str, Any]) -> None:
        """Change the object. Raises Forbidden if that changes what cannot be changed."""
        changed = {name for name in spec.keys() | self._spec.keys() if spec.get(name) != self._spec.get(name)}
        if changed - MUTABLE:
            raise Forbidden(f"updates to fields other than {sorted(MUTABLE)} are forbidden: {sorted(changed - MUTABLE)}")
        self._spec = copy.deepcopy(dict(spec))

    def settle(self) -> None:
        """Decide until there is nothing more to do before a pod changes by itself."""
        while self._decide():
            pass

    def _decide(self) -> bool:
        """Create or delete one pod; return whether there was one."""
        ordinals = range(self._spec["replicas"])
        for ordinal in ordinals:
            if ordinal not in self._templates:
                self._templates[ordinal] = self._spec["template"]
                self._pods.create(ordinal, self._spec["template"])
                return True
            if self._spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady" and not self._is_available(ordinal):
                return False
        if self._spec["updateStrategy"]["type"] == "OnDelete":
            return False
        return self._replace(ordinals)

    def _replace(self, ordinals: range) -> bool:
        for ordinal in reversed(ordinals):
            if self._templates[ordinal] != self._spec["template"]:
                self._pods.delete(ordinal)
                del self._templates[ordinal]
                return True
            if not self._is_available(ordinal):
                return False
        return False

    def _is_available(self, ordinal: int) -> bool:
        return self._pods.available(ordinal, self._spec.get("minReadySeconds", 0))
