"""A caller's certificate through the real nginx with compose.yaml's settings for it: verified there, passed on with the proxy's secret, and made a token here."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.demo.ports import free_ports
from tests.certificates import Authority, certificate
from tests.contract.conftest import Listens, a_store, fake_api
from tests.contract.test_certificates import RULES, SECRET
from tests.contract.test_identities import RIGHTS
from tests.contract.test_v1_jobs import gateway_of
from tests.server.nginx import compose_site, running
from tests.unit.identities.assertions import MasterSide

pytestmark = pytest.mark.slow

AUTHORITY, OTHER = Authority(), Authority("another authority")
FORGED = {"X-Proxy-Secret": "guessed", "X-Client-Cert": urllib.parse.quote(AUTHORITY.sign("deploy").pem)}


class Callers:
    """Call nginx with certificates, or without."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder

    def exchange(self, authority: Authority | None, common_name: str = "deploy", **headers: str) -> tuple[int, dict[str, Any]]:
        """Ask for a token; return the status and the answer."""
        context = ssl.create_default_context(cafile=str(self._folder / "pair.pem"))
        if authority is not None:
            context.load_cert_chain(*authority.sign(common_name).write(self._folder, common_name))
        request = urllib.request.Request(f"{self._url}/v1/token", b"grant_type=client_credentials", headers)
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as fault:
            text = fault.read()
            return fault.code, json.loads(text) if text.startswith(b"{") else {}


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str, str], str]) -> Iterator[Callers]:
    folder, listens, side = tmp_path_factory.mktemp("mutual"), Listens(), MasterSide(tmp_path_factory.mktemp("master"))
    secret = folder / "proxy-secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    settings = {
        "SIDECAR_IDENTITIES_KEY_FILE": str(side.key_file),
        "SIDECAR_IDENTITIES_PROXY_SECRET_FILE": str(secret),
        "SIDECAR_IDENTITIES_RULES": json.dumps(RULES),
        "SIDECAR_ACCESS_TRUSTED_PROXIES": "127.0.0.1/32",
    }
    api = fake_api(folder, master=json.dumps(side.opts)[1:-1] + "\n", external_auth=RIGHTS, **a_store(folder), **settings)
    gateway_of(api).master.takes = lambda account, assertion: side.lets_in(assertion, account)
    upstream = int(listens(api).rpartition(":")[2])
    (port,) = free_ports(1)
    authorities, site = folder / "authorities.crt", folder / "nginx"
    authorities.write_text(AUTHORITY.own.pem)
    (site / "proxy-secret").mkdir(parents=True)
    (site / "proxy-secret" / "secret.conf").write_text(f'proxy_set_header X-Proxy-Secret "{SECRET}";\n')
    (site / "nginx.conf").write_text(compose_site(site, port, upstream, certificate(folder), authorities))
    with running(program("nginx", "nginx-light"), site, port):
        yield Callers(f"https://127.0.0.1:{port}", folder)
    for listener in listens.open:
        listener.stop()
    api.process.stop()


def test_a_verified_certificate_becomes_a_token(callers: Callers) -> None:
    status, answer = callers.exchange(AUTHORITY)

    assert (status, answer["token_type"]) == (200, "Bearer")


def test_another_name_gets_no_account(callers: Callers) -> None:
    status, answer = callers.exchange(AUTHORITY, "somebody")

    assert (status, answer["error"], answer["why"]) == (401, "IdentityRefused", "rule")


@pytest.mark.parametrize("authority", [None, OTHER])
@pytest.mark.parametrize("headers", [{}, FORGED, {**FORGED, "X-Proxy-Secret": SECRET}])
def test_without_a_certificate_of_the_authority_nobody_gets_through(callers: Callers, authority: Authority | None, headers: dict[str, str]) -> None:
    assert callers.exchange(authority, **headers)[0] == 400


@pytest.mark.parametrize("headers", [FORGED, {**FORGED, "X-Proxy-Secret": SECRET}])
def test_what_a_caller_writes_in_the_proxys_place_is_replaced(callers: Callers, headers: dict[str, str]) -> None:
    status, answer = callers.exchange(AUTHORITY, "somebody", **headers)

    assert (status, answer["why"]) == (401, "rule")
