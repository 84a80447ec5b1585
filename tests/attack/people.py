"""What is no attack and was refused like one: spellings of a value, masters on other addresses, bytes, what needs no right."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import yaml

from service.demo.embedded import EmbeddedSalt, until
from service.demo.ports import free_ports
from tests.attack.scene import FORM, PATIENCE_SECONDS, PING, YAML, Attack, Scene, Seen, post, refused
from tests.real.sidecar import Sidecar

TCP_PORTS = ("tcp_master_pub_port", "tcp_master_pull_port", "tcp_master_publish_pull", "tcp_master_workers")


def boolean_in_a_form(scene: Scene) -> Seen:
    answer = post(scene.sidecar, "/run", urlencode({**PING, **scene.admin, "full_return": "true"}).encode(), FORM)
    return Seen(f"{answer.status}", answer.status == 200 and answer.value["minion-1"]["ret"] is True)


def spelled(**fields: Any) -> Callable[[Scene], Seen]:
    """Send a ping with fields as another language writes them."""

    def play(scene: Scene) -> Seen:
        status = scene.sidecar.post({**PING, **scene.admin, **fields}).status
        return Seen(f"{status}", status == 200)

    return play


def bytes_in_yaml(scene: Scene) -> Seen:
    answer = post(scene.sidecar, "/", {**PING, **scene.admin, "fun": "demo.blob"}, {"Accept": YAML["Content-Type"]})
    value = yaml.safe_load(answer.body)["return"][0]["minion-1"]
    return Seen(f"{answer.status}, {value!r}", value == b"\xff\xfe\x00blob")


def batch_with_raw(scene: Scene) -> Seen:
    answer = scene.sidecar.post({**PING, **scene.admin, "client": "local_batch", "batch": "1", "raw": True})
    return Seen(f"{answer.status}, {sorted(answer.value)}", "data" in answer.value)


def has_ipv6() -> bool:
    """Say whether this machine has IPv6: an engine gives its containers none, unless it is told to."""
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


def bus_of_ipv6(scene: Scene) -> Seen:
    """Call beside a master whose bus is on a port of ::1."""
    if not has_ipv6():
        return Seen("not played: this machine has no IPv6", held=True)
    master = {"ipc_mode": "tcp", "ipv6": True, **dict(zip(TCP_PORTS, free_ports(4), strict=True))}
    folder = scene.folder / "ipv6"
    with EmbeddedSalt(folder / "salt", minions=0, threads=True, master=master) as salt, Sidecar(salt.master_config, folder / "sidecar") as sidecar:
        answer = sidecar.post({**salt.credentials, "client": "runner", "fun": "test.arg"})
    return Seen(f"ready; {answer.status}", answer.status == 200)


def nobody_asks_for_anything(scene: Scene) -> Seen:
    return refused(*(post(scene.sidecar, "/", body) for body in (b"", b"[]", b"{}", b'{"client": "ssh"}')))


def whole_figures(scene: Scene) -> Seen:
    figures = scene.sidecar.get("/stats", scene.log_in(scene.sidecar, scene.admin)).json()["CherryPy HTTPServer 1"]
    broken = [name for name, value in figures.items() if isinstance(value, float)]
    return Seen(f"no whole numbers: {broken or 'none'}", not broken)


def our_own_words(scene: Scene) -> Seen:
    answer = scene.sidecar.post({**PING, "token": "no token"})
    lines: list[str] = []
    for _ in until(PATIENCE_SECONDS):
        lines = [json.dumps(line) for line in scene.sidecar.lines("http.request") if line["request_id"] == answer.headers["x-request-id"]]
        if lines:
            break
    return Seen(str(answer.json()["return"]), len(lines) == 1 and "<redacted>" not in lines[0])


ATTACKS = [
    Attack("E19", "full_return=true in a form", "400", boolean_in_a_form),
    Attack("E19", '"failhard": "True"', "400", spelled(client="local_batch", failhard="True")),
    Attack("E19", '"kwarg": [], as PHP writes an empty map', "400", spelled(kwarg=[])),
    Attack("E20", "a master whose bus is on a port of ::1", "never ready", bus_of_ipv6),
    Attack("E21", "bytes in a YAML answer", "text", bytes_in_yaml),
    Attack("E21", "local_batch with raw: true", "returns without their events", batch_with_raw),
    Attack("F24", "POST / without session and credentials", "400", nobody_asks_for_anything),
    Attack("F24", "/stats under CherryPy's older name", "broken numbers", whole_figures),
    Attack("F24", "a token that is none, in the log", "<redacted> digits expected", our_own_words),
]
