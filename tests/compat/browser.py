"""A headless Chromium, driven through Debian's chromedriver. Source: W3C WebDriver, sections 8, 10, 13 and 17."""

from __future__ import annotations

import base64
import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.demo import calls
from service.demo.ports import free_ports
from service.demo.processes import Child
from tests.compat.servers import Server, wait_ready

SCRIPT_MILLISECONDS = 60_000
TIMEOUT_SECONDS = 300
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync "
    "--window-size=900,600"
)


class Browser:
    """One window."""

    def __init__(self, url: str) -> None:
        self._url = url

    def open(self, url: str) -> None:
        self._ask("POST", "url", {"url": url})

    def call(self, script: str, *arguments: Any) -> Any:
        """Run a script that returns a promise, and return what it comes to."""
        waiting = f"const done = arguments[arguments.length - 1]; ({script})(...arguments).then(done, (error) => done({{error: String(error)}}));"
        return self._ask("POST", "execute/async", {"script": waiting, "args": list(arguments)})

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Send a command of the Chrome DevTools Protocol."""
        return self._ask("POST", "goog/cdp/execute", {"cmd": command, "params": parameters})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("GET", "screenshot")))

    def leave(self) -> None:
        """Leave a page, whose server may be gone by now, and forget what it complained of."""
        self.open("about:blank")
        self.complaints()

    def complaints(self) -> list[str]:
        """Return what the browser had to complain of since the last time, such as what a policy kept it from."""
        return [line["message"] for line in self._ask("POST", "se/log", {"type": "browser"})]

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return ask(method, f"{self._url}/{path}", body)


def ask(method: str, url: str, body: Any = None) -> Any:
    """Send one WebDriver command; returns its value."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with calls.OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
        return json.load(response)["value"]


@contextlib.contextmanager
def browser(driver: str, chromium: str, folder: Path) -> Iterator[Browser]:
    """Start the driver and one browser with a profile of its own; end both."""
    (port,) = free_ports(1)
    process = Child("chromedriver", [driver, f"--port={port}"], folder / "chromedriver.log", {"HOME": str(folder), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"})
    process.start()
    try:
        url = f"http://127.0.0.1:{port}"
        wait_ready(Server("chromedriver", port, process), f"{url}/status")
        options = {"binary": chromium, "args": [*ARGUMENTS.split(), f"--user-data-dir={folder / 'profile'}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "timeouts": {"script": SCRIPT_MILLISECONDS}}
        session = f"{url}/session/{ask('POST', f'{url}/session', {'capabilities': {'alwaysMatch': wanted}})['sessionId']}"
        try:
            yield Browser(session)
        finally:
            ask("DELETE", session)
    finally:
        process.stop()
