"""A small package index on loopback, with packages made on the spot."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Wheel:
    """A package of one empty module."""

    name: str
    version: str
    metadata: tuple[str, ...] = ()

    def build(self, folder: Path) -> Path:
        """Write the wheel. Source: packaging.python.org, binary distribution format."""
        module = self.name.replace("-", "_")
        info = f"{module}-{self.version}.dist-info"
        files = {
            f"{module}.py": "",
            f"{info}/METADATA": "\n".join(["Metadata-Version: 2.1", f"Name: {self.name}", f"Version: {self.version}", *self.metadata, ""]),
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in files.items())
        path = folder / f"{module}-{self.version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
                archive.writestr(name, text)
        return path


class Index:
    """What it serves, and what it was asked for. folder: holds the wheels."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.asked: list[str] = []

    def add(self, *wheels: Wheel) -> None:
        for wheel in wheels:
            wheel.build(self.folder)

    def pin(self, name: str, version: str) -> str:
        """Return the line of a lock file."""
        return f"{name}=={version} --hash=sha256:{self._sha256(self._file(name, version))}\n"

    def answer(self, path: str) -> bytes | None:
        """Return a page or a wheel; None for what it does not have. Source: PEP 503."""
        self.asked.append(path)
        parts = path.strip("/").split("/")
        if parts[0] == "files":
            return (self.folder / parts[1]).read_bytes()
        wheels = sorted(self.folder.glob(f"{parts[1].replace('-', '_')}-[0-9]*.whl"))
        links = [f'<a href="/files/{wheel.name}#sha256={self._sha256(wheel)}">{wheel.name}</a>' for wheel in wheels]
        return "\n".join(["<!DOCTYPE html>", *links]).encode() if links else None

    def _file(self, name: str, version: str) -> Path:
        return self.folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"

    @staticmethod
    def _sha256(file: Path) -> str:
        return hashlib.sha256(file.read_bytes()).hexdigest()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Index]:
    """Serve an empty index inside the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = index.answer(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "application/octet-stream" if self.path.endswith(".whl") else "text/html")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index = Index(folder, f"http://127.0.0.1:{server.server_port}/simple")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield index
        finally:
            server.shutdown()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
