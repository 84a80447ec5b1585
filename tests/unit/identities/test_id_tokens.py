"""Id tokens: those of GitHub's and GitLab's shape are taken, and each attack is refused with its reason."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.errors import Fault, IdentityRefused, KeysUnavailable
from service.identities.account_rules import AccountRules
from service.identities.id_tokens import MOST_CHARACTERS, IdTokens
from service.settings.identity_settings import AccountRule, Issuer
from tests.issuing import AUDIENCE, URL, SigningKey, github, gitlab, jwks, rsa_key


def now() -> int:
    """Return the time; of a run that goes on for long that of its beginning would be the past."""
    return int(time.time())


KEY = SigningKey("key-1")
OTHER = SigningKey("key-1")
RSA = SigningKey("rsa-1", rsa_key())
WEAK = SigningKey("weak", rsa_key(1024))


def verifier(*keys: SigningKey) -> IdTokens:
    """Return what verifies tokens of both issuers, whose keys are fetched from memory."""
    issuers = {
        "github": Issuer(url=URL, audiences=(AUDIENCE,), jwks_url=f"{URL}/.well-known/jwks"),
        "gitlab": Issuer(url="https://gitlab.example.org", audiences=(AUDIENCE, "salt"), jwks_url="https://gitlab.example.org/oauth/discovery/keys"),
    }
    document = jwks(*(keys or (KEY, RSA)))
    return IdTokens(issuers, fetch=lambda _url: document, on_failure=lambda _name, _reason: None, on_fault=lambda _fault: None)


def why(token: str, id_tokens: IdTokens | None = None) -> str:
    """Return why a token is refused."""
    with pytest.raises(Fault) as caught:
        (id_tokens or verifier()).verify(token)
    assert isinstance(caught.value, IdentityRefused), caught.value
    assert not token or token[-40:] not in str(caught.value)
    return str(caught.value.details["why"])


@pytest.mark.parametrize("key", [KEY, RSA], ids=["ES256", "RS256"])
@pytest.mark.parametrize(("name", "claims"), [("github", github), ("gitlab", gitlab)])
def test_tokens_as_the_documentation_shows_them_are_taken(key: SigningKey, name: str, claims: Callable[[], dict[str, Any]]) -> None:
    said = claims()
    proven = verifier().verify(key.sign(said))

    assert (proven.issuer, proven.claims) == (name, said)
    assert said["exp"] <= proven.expires <= said["exp"] + 60


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(header: bytes, body: bytes) -> str:
    """Sign whatever is given, with the good key."""
    text = f"{encoded(header)}.{encoded(body)}"
    return f"{text}.{encoded(jwt.get_algorithm_by_name('ES256').sign(text.encode(), KEY.key))}"


def unsigned(alg: str) -> str:
    return f"{encoded(json.dumps({'alg': alg, 'kid': 'key-1'}).encode())}.{encoded(json.dumps(github()).encode())}."


def with_public_key(alg: str = "HS256") -> str:
    """Sign with the public key as if it were a secret: what a library does wrong that lets the token choose."""
    pem = RSA.key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = f"{encoded(json.dumps({'alg': alg, 'kid': RSA.kid}).encode())}.{encoded(json.dumps(github()).encode())}"
    return f"{text}.{encoded(hmac.digest(pem, text.encode(), hashlib.sha256))}"


HEADER = json.dumps({"alg": "ES256", "kid": "key-1"}).encode()


def body(text: str) -> str:
    """Return a token that is signed well and has this in front of its claims."""
    return signed(HEADER, b"{" + text.encode() + b"," + json.dumps(github()).encode()[1:])


ATTACKS: dict[str, tuple[str, Callable[[], str]]] = {
    "alg none": ("algorithm", lambda: unsigned("none")),
    "alg nOnE": ("algorithm", lambda: unsigned("nOnE")),
    "no alg": ("algorithm", lambda: signed(b'{"kid": "key-1"}', json.dumps(github()).encode())),
    "alg is a list": ("algorithm", lambda: signed(b'{"alg": ["ES256"], "kid": "key-1"}', json.dumps(github()).encode())),
    "HS256 with the public key": ("algorithm", with_public_key),
    "RS256 said, HMAC made": ("signature", lambda: with_public_key("RS256")),
    "an algorithm that is not ours": ("algorithm", lambda: jwt.encode(github(), rsa_key(), "PS256", headers={"kid": "rsa-1"})),
    "another alg than the key's": ("algorithm", lambda: jwt.encode(github(), rsa_key(), "RS256", headers={"kid": "key-1"})),
    "signed by another key under the same id": ("signature", lambda: OTHER.sign(github())),
    "no signature": ("signature", lambda: KEY.sign(github()).rpartition(".")[0] + "."),
    "claims of another token": ("signature", lambda: swapped(KEY.sign(github()), KEY.sign(github(ref="refs/heads/x")))),
    "a key that nobody has": ("key", lambda: KEY.sign(github(), kid="key-2")),
    "no key id": ("key", lambda: signed(b'{"alg": "ES256"}', json.dumps(github()).encode())),
    "a key id that is a number": ("key", lambda: signed(b'{"alg": "ES256", "kid": 1}', json.dumps(github()).encode())),
    "an endless key id": ("key", lambda: KEY.sign(github(), kid="k" * 5000)),
    "its own key in the header": ("signature", lambda: OTHER.sign(github(), jwk=OTHER.jwk(), jku="https://evil.example.org/jwks")),
    "an extension that must be understood": ("malformed", lambda: KEY.sign(github(), crit=["exp"])),
    "a detached payload": ("malformed", lambda: KEY.sign(github(), b64=False, crit=["b64"])),
    "another issuer": ("issuer", lambda: KEY.sign(github(iss="https://evil.example.org"))),
    "an issuer with a slash more": ("issuer", lambda: KEY.sign(github(iss=f"{URL}/"))),
    "no issuer": ("issuer", lambda: KEY.sign(github(iss=None))),
    "an issuer that is a list": ("issuer", lambda: signed(HEADER, json.dumps(github(iss=[URL])).encode())),
    "for somebody else": ("audience", lambda: KEY.sign(github(aud="https://other.example.org"))),
    "for several others": ("audience", lambda: KEY.sign(github(aud=["a", "b"]))),
    "for the other issuer's second audience": ("audience", lambda: KEY.sign(github(aud="salt"))),
    "for nobody": ("claims", lambda: KEY.sign(github(aud=None))),
    "for a number": ("audience", lambda: KEY.sign(github(aud=5))),
    "for a list of numbers": ("audience", lambda: KEY.sign(github(aud=[5, AUDIENCE]))),
    "expired": ("expired", lambda: KEY.sign(github(iat=now() - 900, nbf=now() - 900, exp=now() - 120))),
    "not yet valid": ("not_yet_valid", lambda: KEY.sign(github(nbf=now() + 600))),
    "from the future": ("not_yet_valid", lambda: KEY.sign(github(iat=now() + 600, nbf=now()))),
    "without an end": ("claims", lambda: KEY.sign(github(exp=None))),
    "without a beginning": ("claims", lambda: KEY.sign(github(iat=None))),
    "without a subject": ("claims", lambda: KEY.sign(github(sub=None))),
    "a subject that is a number": ("claims", lambda: signed(HEADER, json.dumps(github(sub=5)).encode())),
    "an end that is text": ("claims", lambda: signed(HEADER, json.dumps(github(exp="9999999999")).encode())),
    "an end that is true": ("claims", lambda: signed(HEADER, json.dumps(github(exp=True)).encode())),
    "an end that is a list": ("claims", lambda: signed(HEADER, json.dumps(github(exp=[])).encode())),
    "an end that is no number": ("malformed", lambda: signed(HEADER, json.dumps(github(exp=float("nan"))).encode())),
    "an end that is infinite": ("claims", lambda: signed(HEADER, json.dumps(github()).encode().replace(b'"exp": ', b'"exp": 1e999, "ex": '))),
    "a name that stands twice": ("malformed", lambda: body('"repository": "octo-org/admin"')),
    "a name that stands twice in the header": ("malformed", lambda: signed(b'{"alg": "none", "alg": "ES256", "kid": "key-1"}', b"{}")),
    "claims that are a list": ("malformed", lambda: signed(HEADER, b"[]")),
    "claims that are text": ("malformed", lambda: signed(HEADER, b'"x"')),
    "claims that are no JSON": ("malformed", lambda: signed(HEADER, b"{")),
    "claims that are no UTF-8": ("malformed", lambda: signed(HEADER, b'{"sub": "\xff"}')),
    "claims without a bottom": ("malformed", lambda: signed(HEADER, b'{"x": ' + b"[" * 5000)),
    "a number without an end": ("malformed", lambda: signed(HEADER, b'{"exp": ' + b"9" * 8000 + b"}")),
    "huge": ("too_large", lambda: KEY.sign(github(padding="x" * MOST_CHARACTERS))),
    "too many parts": ("malformed", lambda: KEY.sign(github()) + ".x.y"),
    "no base64": ("malformed", lambda: "a.b.c"),
    "not ASCII": ("malformed", lambda: "ä.ö.ü"),
    "empty": ("malformed", lambda: ""),
    "dots": ("malformed", lambda: ".."),
}


def swapped(one: str, other: str) -> str:
    """Return a token with the claims of another one."""
    (header, _, signature), (_, claims, _) = one.split("."), other.split(".")
    return f"{header}.{claims}.{signature}"


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_with_its_reason(attack: str) -> None:
    reason, token = ATTACKS[attack]

    assert why(token()) == reason


def test_a_key_of_another_issuer_is_no_key_of_this_one() -> None:
    issuers = {name: Issuer(url=url, audiences=(AUDIENCE,), jwks_url=url) for name, url in (("github", URL), ("gitlab", "https://gitlab.example.org"))}
    documents = {URL: jwks(KEY), "https://gitlab.example.org": jwks(SigningKey("key-9"))}
    id_tokens = IdTokens(issuers, fetch=documents.__getitem__, on_failure=lambda _name, _reason: None, on_fault=lambda _fault: None)

    assert id_tokens.verify(KEY.sign(github())).issuer == "github"
    assert why(KEY.sign(gitlab()), id_tokens) == "key"


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("key", [WEAK, SigningKey("p384", ec.generate_private_key(ec.SECP384R1()))], ids=["1024 bits", "another curve"])
def test_a_key_that_is_not_good_enough_is_not_used(key: SigningKey) -> None:
    alg = "RS256" if key is WEAK else "ES384"
    token = jwt.encode(github(), key.key, alg, headers={"kid": key.kid})

    assert why(token, verifier(KEY, key)) == ("key" if key is WEAK else "algorithm")


def test_an_issuer_that_cannot_be_asked_is_no_refusal() -> None:
    def down(_url: str) -> bytes:
        raise ConnectionRefusedError

    told: list[tuple[str, str]] = []
    issuer = Issuer(url=URL, audiences=(AUDIENCE,), jwks_url=URL)
    id_tokens = IdTokens({"github": issuer}, fetch=down, on_failure=lambda name, reason: told.append((name, reason)), on_fault=lambda _fault: None)

    with pytest.raises(KeysUnavailable) as caught:
        id_tokens.verify(KEY.sign(github()))
    assert 59 < (caught.value.retry_after_seconds or 0) <= 60
    assert [name for name, _ in told] == ["github"]


RULES = (
    AccountRule(issuer="github", claims={"repository": ("octo-org/app",), "ref": ("refs/heads/main", "refs/tags/v*")}, account="ci:app", groups=("deployers",)),
    AccountRule(issuer="github", claims={"repository_id": ("74",)}, account="ci:any-branch"),
    AccountRule(issuer="gitlab", claims={"project_path": ("my-group/*",), "ref_protected": ("true",)}, account="ci:gitlab"),
    AccountRule(issuer="gitlab", claims={"runner_id": ("1",), "ref": ("main",)}, account="ci:runner"),
    AccountRule(issuer="gitlab", claims={"groups": ("ops",)}, account="person"),
)


@pytest.mark.parametrize(
    ("claims", "account"),
    [
        (github, "ci:app"),
        (partial(github, ref="refs/tags/v1.2"), "ci:app"),
        (partial(github, ref="refs/heads/feature"), "ci:any-branch"),
        (partial(github, repository="octo-org/app2", repository_id="75"), None),
        (partial(github, repository="octo-org/app-evil", repository_id=None), None),
        (partial(github, repository=["octo-org/app"], repository_id=None), "ci:app"),
        (partial(github, repository={"octo-org/app": 1}, repository_id=None), None),
        (partial(github, repository=None, repository_id=74), "ci:any-branch"),
        (partial(github, repository=None, repository_id=74.0), None),
        (partial(github, repository="OCTO-ORG/APP", repository_id=None), None),
        (gitlab, "ci:gitlab"),
        (partial(gitlab, ref_protected=True), "ci:gitlab"),
        (partial(gitlab, ref_protected="false"), "ci:runner"),
        (partial(gitlab, ref_protected="false", ref="x"), None),
        (partial(gitlab, ref_protected="false", ref="x", groups=["dev", "ops"]), "person"),
        (partial(gitlab, ref_protected="false", ref="x", groups=["dev", ["ops"]]), None),
        (partial(gitlab, iss=URL, repository="octo-org/app2"), None),
    ],
)
def test_the_first_rule_whose_claims_all_fit_gives_the_account(claims: Callable[[], dict[str, Any]], account: str | None) -> None:
    proven = verifier().verify(KEY.sign(claims()))

    if account is None:
        with pytest.raises(IdentityRefused) as caught:
            AccountRules(RULES).of(proven)
        assert caught.value.details == {"why": "rule"}
    else:
        assert AccountRules(RULES).of(proven).account == account
