"""Websockets through nginx as compose.yaml and the chart have it: one port for callers, and no token in its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.demo.ports import free_ports
from tests.contract.conftest import Listens, fake_api, login
from tests.contract.test_events import fire
from tests.meanwhile import eventually
from tests.server import nginx
from tests.websockets import RECEIVED, Socket, listening_sockets

pytestmark = pytest.mark.slow


@pytest.fixture
def listens() -> Iterator[Listens]:
    made = Listens()
    yield made
    for listener in made.open:
        listener.stop()


@pytest.mark.parametrize("site", nginx.SITES)
@pytest.mark.parametrize("path", ["/ws", "//ws", "/all_events", "/formatted_events"])
def test_a_websocket_comes_through_the_port_of_everything_else(
    program: Callable[[str, str], str], tmp_path: Path, listens: Listens, site: str, path: str
) -> None:
    api = fake_api(tmp_path, SIDECAR_ACCESS_TRUSTED_PROXIES="127.0.0.1", SIDECAR_ACCESS_USERS="{demo: [127.0.0.2, 192.0.2.1]}", SIDECAR_WEBSOCKET_PORT="0")
    upstream = int(listens(api).rpartition(":")[2])
    token = login(api, api.demo)
    (port,) = free_ports(1)
    with listening_sockets(api.process) as sockets:
        (tmp_path / "nginx.conf").write_text(nginx.SITES[site](tmp_path, port, upstream, sockets=sockets.port))
        page = f"http://127.0.0.1:{port}"
        with nginx.running(program("nginx", "nginx-light"), tmp_path, port), Socket(port, f"{path}/{token}", address="127.0.0.2", origin=page) as caller:
            caller.ready()
            if path.endswith("/ws"):
                assert caller.receive() == RECEIVED
            assert eventually(lambda: api.process.streams.subscribers("websocket") == 1)
            fire(api, "salt/key", {"act": "accept", "id": "m"})
            assert "m" in caller.receive()
    api.process.stop()

    written = "".join(file.read_text(errors="replace") for file in tmp_path.glob("*.log"))
    assert token not in written
    assert site == "chart" or f"{path}/<redacted>" in written
