"""Client certificates that a proxy passes on: what one proves, in whatever form proxies write it, and what proves nothing."""

from __future__ import annotations

import base64
import datetime as dt
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from service.errors import IdentityRefused
from service.identities.account_rules import AccountRules
from service.identities.certificates import MOST_CHARACTERS, ClientCertificates
from service.secrets.reading import first_line
from service.secrets.secret_file import SecretFile
from service.settings.identity_settings import AccountRule
from tests.certificates import DAY, Authority, Signed

SECRET = "a secret of the proxy"
ADDRESS = "192.0.2.1"
AUTHORITY = Authority()
HOUR = dt.timedelta(hours=1)
NAMES = [x509.DNSName("deploy.example.org"), x509.RFC822Name("ci@example.org"), x509.UniformResourceIdentifier("spiffe://example.org/ci/deploy")]
DEPLOY = AUTHORITY.sign("deploy", alternatives=NAMES)
FORMS: dict[str, Callable[[Signed], str]] = {
    "nginx": lambda one: urllib.parse.quote(one.pem),
    "RFC 9440": lambda one: f":{base64.b64encode(one.der).decode()}:",
    "base64": lambda one: base64.b64encode(one.der).decode(),
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> ClientCertificates:
    path: Path = tmp_path_factory.mktemp("proxy") / "secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return ClientCertificates("X-Client-Cert", SecretFile(path, "identities.proxy_secret_file", first_line))


def sent(text: str, secret: str = SECRET) -> dict[str, str]:
    return {"HTTP_X_CLIENT_CERT": text, "HTTP_X_PROXY_SECRET": secret}


def why(certificates: ClientCertificates, environ: dict[str, str]) -> str:
    with pytest.raises(IdentityRefused) as refused:
        certificates.shown(environ, ADDRESS)
    found: str = refused.value.details["why"]
    return found


@pytest.mark.parametrize("form", FORMS)
def test_whatever_form_a_proxy_writes_the_claims_are_the_same(certificates: ClientCertificates, form: str) -> None:
    proven = certificates.shown(sent(FORMS[form](DEPLOY)), ADDRESS)

    assert proven.issuer == "certificate"
    assert proven.expires == DEPLOY.certificate.not_valid_after_utc.timestamp()
    assert proven.claims == {
        "sub": "OU=ci,O=Example,CN=deploy",
        "issuer": "O=Example,CN=an authority",
        "serial": f"{DEPLOY.certificate.serial_number:x}",
        "fingerprint": proven.claims["fingerprint"],
        "common_name": ["deploy"],
        "organization": ["Example"],
        "organizational_unit": ["ci"],
        "dns": ["deploy.example.org"],
        "email": ["ci@example.org"],
        "uri": ["spiffe://example.org/ci/deploy"],
    }


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({}, "proxy"),
        ({"HTTP_X_CLIENT_CERT": FORMS["nginx"](DEPLOY)}, "proxy"),
        (sent(FORMS["nginx"](DEPLOY), "another"), "proxy"),
        (sent(FORMS["nginx"](DEPLOY), SECRET + " "), "proxy"),
        (sent(""), "certificate"),
        (sent("SUCCESS"), "malformed"),
        (sent(FORMS["nginx"](DEPLOY)[:-200]), "malformed"),
        (sent(FORMS["base64"](DEPLOY)[:400]), "malformed"),
        (sent(urllib.parse.quote("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")), "malformed"),
        (sent("-----BEGIN CERTIFICATE-----\xff"), "malformed"),
        (sent("A" * (MOST_CHARACTERS + 1)), "malformed"),
        (sent(FORMS["nginx"](AUTHORITY.sign("old", begins=-2 * DAY, ends=-HOUR))), "expired"),
        (sent(FORMS["nginx"](AUTHORITY.sign("young", begins=HOUR))), "expired"),
    ],
)
def test_what_proves_nothing_is_refused_with_its_reason(certificates: ClientCertificates, environ: dict[str, str], reason: str) -> None:
    assert why(certificates, environ) == reason


@pytest.mark.costly
@given(text=st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.b64encode(raw).decode()))
def test_no_text_is_more_than_refused(certificates: ClientCertificates, text: str) -> None:
    assert why(certificates, sent(text)) in {"certificate", "malformed"}


def test_a_secret_that_cannot_be_read_lets_nobody_in(tmp_path: Path) -> None:
    nobody = ClientCertificates("X-Client-Cert", SecretFile(tmp_path / "missing", "identities.proxy_secret_file", first_line))

    assert why(nobody, sent(FORMS["nginx"](DEPLOY), "")) == "proxy"


@pytest.mark.parametrize(
    ("claims", "fits"),
    [
        ({"common_name": ["deploy"]}, True),
        ({"common_name": ["dep*"], "organizational_unit": ["ci"]}, True),
        ({"uri": ["spiffe://example.org/ci/*"]}, True),
        ({"dns": ["*.example.org"], "issuer": ["O=Example,CN=an authority"]}, True),
        ({"common_name": ["deploy"], "organizational_unit": ["ops"]}, False),
        ({"email": ["*@example.com"]}, False),
        ({"no_such_claim": ["*"]}, False),
    ],
)
def test_rules_are_those_of_id_tokens(certificates: ClientCertificates, claims: dict[str, Any], fits: bool) -> None:
    rules = AccountRules([AccountRule.model_validate({"issuer": "certificate", "claims": claims, "account": "ci"})])
    proven = certificates.shown(sent(FORMS["nginx"](DEPLOY)), ADDRESS)

    if fits:
        assert rules.of(proven).account == "ci"
        return
    with pytest.raises(IdentityRefused):
        rules.of(proven)
