"""What a kubelet does with a pod's volumes, users and signals, done with Docker: modes, owners and symlinks as in the real thing."""

from __future__ import annotations

import base64
import os
import shutil
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.e2e.engine import Engine
from tests.e2e.shell import StepFailed, require, run

Object = dict[str, Any]
# As a kubelet makes an emptyDir or a fresh claim for a pod with an fsGroup: root's, the group's, setgid; and without one.
SHARED_MODE, OWN_MODE = 0o2777, 0o777


def logs(engine: Engine, container: str) -> str:
    """Return the end of what a container said, to either of its streams."""
    return run("sh", "-c", 'exec "$0" logs --tail=8 "$1" 2>&1', engine.client, container, environ=engine.environ, ok=(0, 1))


class Pod:
    """The containers of one pod: one network, the pod's volumes, no capability, a read-only root where the chart says so."""

    def __init__(self, engine: Engine, name: str, spec: Object, objects: Iterable[Object], hosts: Mapping[str, str] | None = None) -> None:
        self._engine = engine
        self._name = name
        self._spec = spec
        self._objects = {(item["kind"], item["metadata"]["name"]): item for item in objects}
        # Somebody's pod may give its volumes to no group; then they are root's alone.
        self._group = int(spec.get("securityContext", {}).get("fsGroup", 0))
        self._folder = engine.work / "kubelet" / name
        # They outlive the pod, and the next of that name finds them.
        self._claims = engine.work / "claims" / name
        self._hosts = hosts or {}
        self.address = ""

    def prepare(self, pause_image: str, claims: Iterable[str] = ()) -> None:
        """Make the volumes and the network, and run the init containers one after the other."""
        for volume in self._spec["volumes"]:
            self._make(volume)
        for claim in claims:
            self._share(self._claims / claim)
        hosts = [f"--add-host={name}:{address}" for name, address in self._hosts.items()]
        self._engine.docker("run", "--detach", "--name", self._pause, *hosts, "--network=bridge", "--entrypoint=sleep", pause_image, "infinity")
        self.address = self._engine.docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", self._pause).strip()
        for container in self._spec.get("initContainers", []):
            self._engine.docker("run", "--rm", *self._options(container))

    def start(self) -> None:
        """Start the containers, all at once."""
        for container in self._spec["containers"]:
            self._engine.docker("run", "--detach", "--restart=always", "--name", self.container(container["name"]), *self._options(container))

    def run(self) -> str:
        """Run the only container of a pod to its end; return what it printed."""
        return self._engine.docker("run", "--rm", *self._options(self._spec["containers"][0]), timeout=600)

    def execute(self, name: str, *argv: str, ok: tuple[int, ...] = (0,), timeout: float = 300) -> str:
        """Run a program in a container."""
        return self._engine.docker("exec", self.container(name), *argv, ok=ok, timeout=timeout)

    def probe(self, name: str, kind: str) -> bool:
        """Run a probe of a kind that is a command."""
        command = next(container for container in self._spec["containers"] if container["name"] == name)[kind]["exec"]["command"]
        try:
            self.execute(name, *command)
        except StepFailed:
            return False
        return True

    def terminate(self) -> dict[str, int]:
        """Stop every container at the same time: first its preStop, then SIGTERM, after the grace period SIGKILL. Returns the exit codes."""
        codes: dict[str, int] = {}
        threads = [threading.Thread(target=self._terminate, args=(container, codes)) for container in self._spec["containers"]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self._spec["terminationGracePeriodSeconds"] + 60)
        require(len(codes) == len(threads), f"containers without an end: {codes}")
        return codes

    def starts(self) -> list[str]:
        """Return when each container was started last."""
        names = [self.container(container["name"]) for container in self._spec["containers"]]
        return self._engine.docker("inspect", "--format", "{{.State.StartedAt}}", *names).split()

    def logs(self) -> str:
        """Return the end of what each container said."""
        return "\n".join(f"{item['name']}:\n{logs(self._engine, self.container(item['name']))}" for item in self._spec["containers"])

    def remove(self) -> None:
        """Remove containers and volumes, and not the claims."""
        names = [self.container(container["name"]) for container in self._spec["containers"]]
        # Of a pod that waits for an image there is less.
        self._engine.docker("rm", "--force", *names, self._pause, ok=(0, 1))
        shutil.rmtree(self._folder, ignore_errors=True)

    def container(self, name: str) -> str:
        return f"{self._name}-{name}"

    @property
    def _pause(self) -> str:
        return f"{self._name}-pause"

    def _terminate(self, container: Object, codes: dict[str, int]) -> None:
        grace = self._spec["terminationGracePeriodSeconds"]
        hook = container.get("lifecycle", {}).get("preStop")
        if hook:
            self.execute(container["name"], *hook["exec"]["command"], timeout=grace)
        name = self.container(container["name"])
        self._engine.docker("stop", "--time", str(grace), name, timeout=grace + 30)
        codes[container["name"]] = int(self._engine.docker("inspect", "--format", "{{.State.ExitCode}}", name))

    def _options(self, container: Object) -> list[str | Path]:
        context = container["securityContext"]
        options: list[str | Path] = [
            f"--user={context['runAsUser']}:{context['runAsGroup']}",
            *([f"--group-add={self._group}"] if self._group else []),
            f"--network=container:{self._pause}",
            # What is not here is not fetched either: no test needs a registry, and none is to wait for one.
            "--pull=never",
        ]
        options += [f"--cap-drop={name}" for name in context["capabilities"]["drop"]]
        options += ["--security-opt=no-new-privileges", *(["--read-only"] if context["readOnlyRootFilesystem"] else [])]
        options += [f"--env={item['name']}={item['value']}" for item in container.get("env", [])]
        for mount in container.get("volumeMounts", []):
            claim = self._claims / mount["name"]
            source = (claim if claim.exists() else self._folder / mount["name"]) / mount.get("subPath", "")
            if "subPath" in mount and not source.exists():
                # The kubelet makes what is missing, as root.
                source.mkdir(parents=True)
            options.append(f"--volume={source}:{mount['mountPath']}{':ro' if mount.get('readOnly') else ''}")
        command = container.get("command", [])
        entry = [f"--entrypoint={command[0]}"] if command else []
        return [*options, *entry, container["image"], *command[1:], *container.get("args", [])]

    def renew(self, name: str, secret: Mapping[str, str]) -> None:
        """Replace the files of a Secret's volume, as the kubelet does some time after the Secret has changed."""
        volume = next(volume for volume in self._spec["volumes"] if volume["name"] == name)
        self._objects["Secret", volume["secret"]["secretName"]]["stringData"] = dict(secret)
        self._put(volume, secret)

    def _make(self, volume: Object) -> None:
        files = self._files(volume)
        if files is None:
            self._share(self._folder / volume["name"])
        else:
            self._put(volume, files)

    def _share(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, 0, self._group)
        folder.chmod(SHARED_MODE if self._group else OWN_MODE)

    def _put(self, volume: Object, files: Mapping[str, str]) -> None:
        """Write the files of a volume: they are in a folder with a date, and what one sees are symlinks, so that an update is atomic."""
        folder = self._folder / volume["name"]
        dated = folder / f"..2026_01_01_00_00_00.{len(list(folder.glob('..2026*')))}"
        dated.mkdir(parents=True)
        os.chown(dated, 0, self._group)
        source = volume.get("secret") or volume["configMap"]
        mode = source.get("defaultMode", 0o644) | (0o440 if self._group else 0)
        for name, text in files.items():
            (dated / name).write_text(text)
            os.chown(dated / name, 0, self._group)
            (dated / name).chmod(mode)
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(f"..data/{name}")
        (folder / "..data_tmp").symlink_to(dated.name)
        (folder / "..data_tmp").rename(folder / "..data")

    def _files(self, volume: Object) -> dict[str, str] | None:
        """Return the files of a ConfigMap or Secret; None for what is a folder to write in."""
        if "configMap" in volume:
            source, data = volume["configMap"], self._objects["ConfigMap", volume["configMap"]["name"]].get("data", {})
        elif "secret" in volume:
            source, secret = volume["secret"], self._objects["Secret", volume["secret"]["secretName"]]
            data = {key: base64.b64decode(text).decode() for key, text in secret.get("data", {}).items()} | secret.get("stringData", {})
        else:
            return None
        items = source.get("items")
        return {item["path"]: data[item["key"]] for item in items} if items else data
