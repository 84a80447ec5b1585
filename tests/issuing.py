"""An issuer of id tokens: keys that rotate, tokens shaped as GitHub's and GitLab's documentation shows, and a real HTTP server for its keys that can misbehave."""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from typing_extensions import Self

URL = "https://token.actions.example.org"
AUDIENCE = "https://salt.example.org"
LIFETIME = 300


@functools.cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return one key for the whole run: to make one takes a while."""
    return rsa.generate_private_key(65537, bits)


@dataclasses.dataclass(frozen=True)
class SigningKey:
    """One key of an issuer."""

    kid: str
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = dataclasses.field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def alg(self) -> str:
        return "RS256" if isinstance(self.key, rsa.RSAPrivateKey) else "ES256"

    def jwk(self) -> dict[str, Any]:
        public = self.key.public_key()
        shown = RSAAlgorithm.to_jwk(public, as_dict=True) if isinstance(public, rsa.RSAPublicKey) else ECAlgorithm.to_jwk(public, as_dict=True)
        return {**shown, "kid": self.kid, "use": "sig", "alg": self.alg}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        return jwt.encode(claims, self.key, self.alg, headers={"kid": self.kid, **header})


def jwks(*keys: SigningKey) -> bytes:
    return json.dumps({"keys": [key.jwk() for key in keys]}).encode()


def github(**changes: Any) -> dict[str, Any]:
    """Return claims as GitHub Actions makes them; None takes one away."""
    now = int(time.time())
    said = {
        "jti": "6f1a7c1e-0d0f-4f1a-9a55-6f6e3c4b2a10",
        "sub": "repo:octo-org/app:environment:production",
        "environment": "production",
        "aud": AUDIENCE,
        "ref": "refs/heads/main",
        "sha": "0123456789abcdef0123456789abcdef01234567",
        "repository": "octo-org/app",
        "repository_owner": "octo-org",
        "actor_id": "12",
        "repository_visibility": "private",
        "repository_id": "74",
        "repository_owner_id": "65",
        "run_id": "1001",
        "run_number": "10",
        "run_attempt": "2",
        "runner_environment": "github-hosted",
        "actor": "octocat",
        "workflow": "deploy",
        "head_ref": "",
        "base_ref": "",
        "event_name": "workflow_dispatch",
        "ref_type": "branch",
        "job_workflow_ref": "octo-org/automation/.github/workflows/deploy.yml@refs/heads/main",
        "iss": URL,
        "nbf": now - 5,
        "exp": now + LIFETIME,
        "iat": now,
        **changes,
    }
    return {name: value for name, value in said.items() if value is not None}


def gitlab(**changes: Any) -> dict[str, Any]:
    """Return claims as GitLab CI makes them; None takes one away."""
    now = int(time.time())
    said = {
        "namespace_id": "72",
        "namespace_path": "my-group",
        "project_id": "20",
        "project_path": "my-group/my-project",
        "user_id": "1",
        "user_login": "sample-user",
        "user_email": "sample-user@example.org",
        "pipeline_id": "574",
        "pipeline_source": "push",
        "job_id": "302",
        "ref": "main",
        "ref_type": "branch",
        "ref_path": "refs/heads/main",
        "ref_protected": "true",
        "runner_id": 1,
        "runner_environment": "self-hosted",
        "sha": "0123456789abcdef0123456789abcdef01234567",
        "project_visibility": "public",
        "jti": "235b3a54-b797-45c7-ae9a-f72d7bc6ef5b",
        "iss": "https://gitlab.example.org",
        "iat": now,
        "nbf": now - 5,
        "exp": now + 3600,
        "sub": "project_path:my-group/my-project:ref_type:branch:ref:main",
        "aud": [AUDIENCE],
        **changes,
    }
    return {name: value for name, value in said.items() if value is not None}


Answer = Callable[[BaseHTTPRequestHandler], None]


def plain(content: bytes, status: int = 200, **headers: str) -> Answer:
    """Return what answers with this content."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(content)

    return answer


def as_github(key: SigningKey, *others: SigningKey) -> Answer:
    """Return what answers as GitHub does: with its keys at `/jwks`, elsewhere a job that asks with an id token for the audience that it names, signed by *key*."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked = urllib.parse.urlsplit(request.path)
        audience = urllib.parse.parse_qs(asked.query).get("audience", [""])[0]
        given = json.dumps({"value": key.sign(github(aud=audience))}).encode()
        plain(jwks(key, *others) if asked.path == "/jwks" else given)(request)

    return answer


class KeyServer:
    """Serves `jwks_url` over HTTP, on a port of loopback unless *address* says else; `answer` may be replaced at any time. asked: the paths so far."""

    def __init__(self, answer: Answer, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.answer = answer
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base
                return

        self._server = ThreadingHTTPServer(address, Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/jwks"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
