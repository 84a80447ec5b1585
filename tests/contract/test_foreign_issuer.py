"""An OpenID provider that is not ours, Django OAuth Toolkit: its discovery document, its keys while they rotate, and its id tokens at `/v1/token`."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from service.demo.embedded import PATIENCE_SECONDS, until
from service.demo.ports import free_ports
from tests.caller import Response
from tests.contract.conftest import Api, fake_api
from tests.contract.test_identities import EXCHANGE, RIGHTS
from tests.contract.test_v1_jobs import gateway_of, problem
from tests.installed import ROOT
from tests.issuing import AUDIENCE, rsa_key
from tests.unit.identities.assertions import MasterSide

pytestmark = pytest.mark.slow

PYTHON = ROOT / ".venv-issuer" / "bin" / "python"
PROGRAM = Path(__file__).parent / "django_issuer.py"
SECRET, BACK = "of a test", "https://ci.example.org/back"
PROJECT = "group/app"
RULES = [{"issuer": "django", "claims": {"project_path": [PROJECT], "ref_protected": ["true"]}, "account": "pinger"}]


class Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the one back to the client is the answer."""

    def http_error_302(self, _request: Any, answer: Any, *_rest: Any) -> Any:
        return answer


OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stays)


class Provider:
    """The provider on a port of loopback. folder: of its database and its keys."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (self._port,) = free_ports(1)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/o"

    @contextmanager
    def running(self, *keys: Path) -> Iterator[dict[str, Any]]:
        """Run it with these keys, of which the first one signs; yields its discovery document."""
        with subprocess.Popen([PYTHON, "-I", PROGRAM, str(self._port), self._folder, *keys]) as process:
            try:
                yield self._discovered(process)
            finally:
                process.terminate()

    def _discovered(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        for _ in until(PATIENCE_SECONDS):
            assert process.poll() is None, "the provider has ended"
            try:
                found: dict[str, Any] = json.loads(self._open(f"{self.url}/.well-known/openid-configuration")[1])
            except OSError:
                continue
            return found
        raise AssertionError("the provider does not answer")

    def id_token(self, user: str = PROJECT) -> str:
        """Return an id token for us, by the flow of authorization codes."""
        client = {"client_id": AUDIENCE, "redirect_uri": BACK}
        query = urllib.parse.urlencode({**client, "response_type": "code", "scope": "openid"})
        back, _ = self._open(f"{self.url}/authorize/?{query}", {"X-User": user})
        (code,) = urllib.parse.parse_qs(urllib.parse.urlsplit(back["Location"]).query)["code"]
        form = {**client, "client_secret": SECRET, "grant_type": "authorization_code", "code": code}
        token: str = json.loads(self._open(f"{self.url}/token/", data=urllib.parse.urlencode(form).encode())[1])["id_token"]
        return token

    def _open(self, url: str, headers: dict[str, str] | None = None, data: bytes | None = None) -> tuple[HTTPMessage, bytes]:
        with OPENER.open(urllib.request.Request(url, data, headers or {}), timeout=60) as answer:
            return answer.headers, answer.read()


def written(folder: Path, name: str) -> Path:
    """Write a new RSA key for the provider."""
    file = folder / name
    key = rsa_key.__wrapped__()
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return file


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    if not PYTHON.exists():
        missing = "Django OAuth Toolkit is not installed: make clients"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return Provider(tmp_path)


@contextmanager
def sidecar(folder: Path, found: dict[str, Any]) -> Iterator[Api]:
    """Run the application with what an operator reads in the discovery document."""
    folder.mkdir()
    side = MasterSide(folder)
    issuers = {"django": {"url": found["issuer"], "audiences": [AUDIENCE], "jwks_url": found["jwks_uri"]}}
    ours = {"SIDECAR_IDENTITIES_ISSUERS": json.dumps(issuers), "SIDECAR_IDENTITIES_RULES": json.dumps(RULES)}
    api = fake_api(folder, master=json.dumps(side.opts)[1:-1] + "\n", external_auth=RIGHTS, SIDECAR_IDENTITIES_KEY_FILE=str(side.key_file), **ours)
    gateway_of(api).master.takes = lambda account, assertion: side.lets_in(assertion, account)
    try:
        yield api
    finally:
        api.process.stop()


def exchange(api: Api, token: str) -> Response:
    return api.caller.post({**EXCHANGE, "subject_token": token}, "/v1/token")


def test_its_id_tokens_let_a_pipeline_in_while_its_keys_rotate(provider: Provider, tmp_path: Path) -> None:
    old, new = (written(tmp_path, name) for name in ("old.pem", "new.pem"))
    with ExitStack() as stack:
        with provider.running(old) as found:
            api = stack.enter_context(sidecar(tmp_path / "first", found))
            early = provider.id_token()
            token = exchange(api, early).json()["access_token"]
            assert [api.caller.get("/v1/session", authorization=f"Bearer {one}").json()["user"] for one in (token, early)] == ["pinger", "pinger"]
            refused = {"rule": provider.id_token("group/other"), "signature": f"{early.rpartition('.')[0]}.{provider.id_token().rpartition('.')[2]}"}
            assert {why: exchange(api, forged).json()["why"] for why, forged in refused.items()} == {why: why for why in refused}
        with provider.running(new, old) as found:
            late = provider.id_token()
            # Its keys were fetched a moment ago: a token of the new one has to come again; one of the other is still good.
            assert (problem(exchange(api, late)), exchange(api, early).status) == ((503, "KeysUnavailable"), 200)
            again = stack.enter_context(sidecar(tmp_path / "later", found))
            assert [exchange(again, one).status for one in (late, early)] == [200, 200]
        with provider.running(new) as found:
            without = stack.enter_context(sidecar(tmp_path / "last", found))
            assert [exchange(without, one).status for one in (early, late)] == [401, 200]
