"""The identities of a simulated fleet: each minion signs in to the real master and encrypts its returns with its own session key."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import salt.config
import salt.crypt
import salt.payload
import zmq
import zmq.asyncio

# Source: salt/channel/client.py, AsyncReqChannel._package_load.
ENVELOPE_VERSION = 3
SIGN_IN_TRIES = 20
KEY_BITS = 2048


class SignInFailed(Exception):
    """The master does not take a minion; the message has its answer."""


class Minion:
    """One identity. It holds no socket: a fleet's minions share a few."""

    def __init__(self, opts: dict[str, Any], key: Any) -> None:
        self.id: str = opts["id"]
        self.auth = salt.crypt.AsyncAuth(opts)
        # Reading a private key checks it, some ten milliseconds each; all minions have the same.
        self.auth._private_key = key  # noqa: SLF001
        self._opts = opts
        self._token: bytes = b""
        self._session: Any = None
        self.running: dict[str, str] = {}

    async def sign_in(self, requests: Requests) -> None:
        """Authenticate, as often as it takes until the master has accepted the key; one that is too busy to answer is asked again. Raises SignInFailed."""
        made: Any = None
        for _ in range(SIGN_IN_TRIES):
            try:
                made = await self.auth.sign_in(channel=requests, safe=False)
            except asyncio.TimeoutError:
                continue
            if isinstance(made, dict):
                self._session = salt.crypt.Crypticle(self._opts, made["session"])
                self._token = self.auth.gen_token(b"salt")
                return
            await asyncio.sleep(0.5)
        raise SignInFailed(f"{self.id}: the master answered {made!r}")

    def sealed(self, load: dict[str, Any]) -> dict[str, Any]:
        """Return a load as it goes over the wire, encrypted for the master."""
        whole = {**load, "id": self.id, "nonce": uuid.uuid4().hex, "ts": int(time.time()), "tok": self._token}
        return {
            "enc": "aes",
            "load": self._session.dumps(whole),
            "version": ENVELOPE_VERSION,
            "id": self.id,
            "enc_algo": self._opts["encryption_algorithm"],
            "sig_algo": self._opts["signing_algorithm"],
        }


class Requests:
    """Some connections to the master's request port, each used by one request at a time."""

    def __init__(self, uri: str, count: int, timeout_seconds: float = 60.0) -> None:
        self._context = zmq.asyncio.Context()
        self._uri = uri
        self._timeout_seconds = timeout_seconds
        self._free: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
        for _ in range(count):
            self._free.put_nowait(self._connect())

    async def send(self, load: dict[str, Any], *, tries: int = 1, timeout: float | None = None) -> Any:
        """Send a load in the clear; the name and the arguments are those of Salt's channels, so that `sign_in` can use us."""
        del tries
        return await self.roundtrip({"enc": "clear", "load": load, "version": ENVELOPE_VERSION}, timeout)

    async def roundtrip(self, message: dict[str, Any], timeout: float | None = None) -> Any:
        """Send a message, return the master's answer, decoded. Raises TimeoutError."""
        sock = await self._free.get()
        try:
            await sock.send(salt.payload.dumps(message))
            reply = await asyncio.wait_for(sock.recv(), timeout or self._timeout_seconds)
        except BaseException:
            # A REQ socket that waits for an answer cannot send.
            sock.close(linger=0)
            sock = self._connect()
            raise
        finally:
            self._free.put_nowait(sock)
        return salt.payload.loads(reply)

    def close(self) -> None:
        self._context.destroy(linger=0)

    def _connect(self) -> Any:
        sock = self._context.socket(zmq.REQ)
        sock.connect(self._uri)
        return sock


def options_of(folder: Path, minions: list[str], *, host: str, ret_port: int, publish_port: int) -> list[dict[str, Any]]:
    """Return each minion's options: Salt's defaults, and a `pki_dir` of its own with a copy of the one key pair."""
    private, public = _key_pair(folder)
    defaults = salt.config.minion_config(None, minion_id="sim")
    shared = {
        "master": host,
        "master_ip": host,
        "master_uri": f"tcp://{host}:{ret_port}",
        "master_port": ret_port,
        "publish_port": publish_port,
        "sock_dir": str(folder / "run"),
        "cachedir": str(folder / "cache"),
        "__role": "minion",
    }
    made = []
    for minion in minions:
        pki = folder / "pki" / minion
        pki.mkdir(parents=True, exist_ok=True)
        _link(pki / "minion.pem", private)
        _link(pki / "minion.pub", public)
        made.append({**defaults, **shared, "id": minion, "pki_dir": str(pki)})
    return made


def _key_pair(folder: Path) -> tuple[Path, Path]:
    private, public = folder / "minion.pem", folder / "minion.pub"
    if not public.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = salt.crypt.gen_keys(KEY_BITS)
        for path, text in zip((private, public), made, strict=True):
            path.touch(mode=0o600)
            path.write_text(text)
    return private, public


def _link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.hardlink_to(target)
