"""One pair of each kind of server for the comparison, and one sidecar for the clients, all beside the suite's master."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.compat import servers
from tests.compat.comparison import Comparison, comparison

PAGE = Path(__file__).parent / "page"
ARTIFACTS = servers.ROOT / "tests" / "artifacts"


@dataclasses.dataclass(frozen=True)
class Site:
    """
    A sidecar for real clients, and a second place that serves the page.

    url, ops_url: the sidecar, which serves the page as its application.
    friend: an origin that the sidecar lists; stranger: the same server under a name that it does not.
    sibling: an origin that it does not list either, but for the browser of the same site: it sends the sidecar's cookie along.
    """

    url: str
    ops_url: str
    friend: str
    stranger: str
    sibling: str


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None: ...


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory, salt_master: EmbeddedSalt) -> Iterator[Comparison]:
    with comparison(tmp_path_factory.mktemp("compat"), salt_master) as ready:
        yield ready


@contextlib.contextmanager
def page_server() -> Iterator[int]:
    """Serve the page at a port of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(PAGE))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def page_port() -> Iterator[int]:
    with page_server() as port:
        yield port


@contextlib.contextmanager
def page_sidecar(folder: Path, master_config: Path, options: Mapping[str, str] | None = None) -> Iterator[tuple[str, str]]:
    """Run a sidecar that serves the page; gives its URL and that of its ops listener."""
    server, ops_port = servers.sidecar(
        folder, master_config, {"SIDECAR_SITE_APP": str(PAGE / "index.html"), "SIDECAR_SITE_STATIC": str(PAGE / "static"), **(options or {})}
    )
    try:
        ops_url = f"http://127.0.0.1:{ops_port}"
        servers.wait_ready(server, f"{ops_url}/readyz")
        yield f"http://127.0.0.1:{server.port}", ops_url
    finally:
        server.process.stop()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, salt_master: EmbeddedSalt, page_port: int) -> Iterator[Site]:
    friend = f"http://127.0.0.1:{page_port}"
    options = {"SIDECAR_CORS_ORIGINS": friend, "SIDECAR_CORS_CREDENTIALS": "true"}
    with page_sidecar(tmp_path_factory.mktemp("clients"), salt_master.master_config, options) as (url, ops_url), page_server() as other_port:
        yield Site(url, ops_url, friend, f"http://localhost:{page_port}", f"http://127.0.0.1:{other_port}")


@pytest.fixture(scope="session")
def artifacts() -> Path:
    ARTIFACTS.mkdir(exist_ok=True)
    return ARTIFACTS
