"""Client certificates: what a proxy that has verified one says of whoever called it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID, ObjectIdentifier

from service.errors import IdentityRefused, InvalidConfiguration
from service.identities.account_rules import CERTIFICATE, ProvenClaims
from service.secrets.secret_file import SecretFile, is_same

# The proxy proves by it that the certificate beside it is what it says.
PROOF_HEADER = "X-Proxy-Secret"
MOST_CHARACTERS = 32 * 1024
_NAMES: Mapping[str, ObjectIdentifier] = {
    "common_name": NameOID.COMMON_NAME,
    "organization": NameOID.ORGANIZATION_NAME,
    "organizational_unit": NameOID.ORGANIZATIONAL_UNIT_NAME,
}
_ALTERNATIVES: Mapping[str, type[x509.DNSName | x509.RFC822Name | x509.UniformResourceIdentifier]] = {
    "dns": x509.DNSName,
    "email": x509.RFC822Name,
    "uri": x509.UniformResourceIdentifier,
}
_PEM = "-----BEGIN CERTIFICATE-----"


class ClientCertificates:
    """
    Reads the certificate that a proxy passes on. Called from request threads; keeps nothing.

    header: where it is. secret: what the proxy sends beside it. judging(what, address): guesses of that are counted inside it, see Guard. time_of_day(): seconds since 1970.
    """

    def __init__(
        self,
        header: str,
        secret: SecretFile[bytes],
        *,
        judging: Callable[[str, str], contextlib.AbstractContextManager[None]] = lambda _what, _address: contextlib.nullcontext(),
        time_of_day: Callable[[], float] = time.time,
    ) -> None:
        self._header, self._secret, self._judging, self._time_of_day = header, secret, judging, time_of_day

    def shown(self, environ: Mapping[str, Any], address: str) -> ProvenClaims:
        """Return what the certificate of a request proves. address: the caller's. Raises IdentityRefused, with the reason, and Throttled."""
        with self._judging("proxy secret", address):
            if not self._is_from_proxy(environ):
                raise _refused("proxy", "no proxy that is believed says who called (identities.proxy_secret_file)")
        text = environ.get(_key_of(self._header), "")
        if not text:
            raise _refused("certificate", "the caller has shown the proxy no certificate, or none that it could verify")
        certificate = _read(text)
        return ProvenClaims(CERTIFICATE, _claims_of(certificate), self._end_of(certificate))

    def _is_from_proxy(self, environ: Mapping[str, Any]) -> bool:
        try:
            return is_same(environ.get(_key_of(PROOF_HEADER), ""), self._secret.value())
        except InvalidConfiguration:
            return False

    def _end_of(self, certificate: x509.Certificate) -> float:
        begins, ends = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        if not begins <= self._time_of_day() < ends:
            raise _refused("expired", "the certificate is not valid now")
        return ends


def _key_of(header: str) -> str:
    return f"HTTP_{header.upper().replace('-', '_')}"


def _read(text: str) -> x509.Certificate:
    """Return a certificate as proxies write it: percent-encoded PEM (nginx), base64 of its DER, or that between colons (RFC 9440)."""
    if len(text) > MOST_CHARACTERS:
        raise _refused("malformed", f"a certificate may have {MOST_CHARACTERS} characters")
    plain = urllib.parse.unquote(text)
    try:
        if plain.startswith(_PEM):
            return x509.load_pem_x509_certificate(plain.encode("ascii"))
        return x509.load_der_x509_certificate(base64.b64decode(text.strip().strip(":"), validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise _refused("malformed", "what the proxy passes on is no certificate") from None


def _claims_of(certificate: x509.Certificate) -> dict[str, Any]:
    """Return what rules compare. Raises IdentityRefused for a certificate that cannot be read to its end."""
    try:
        subject = certificate.subject
        names = {claim: [str(one.value) for one in subject.get_attributes_for_oid(oid)] for claim, oid in _NAMES.items()}
        return {
            "sub": subject.rfc4514_string(),
            "issuer": certificate.issuer.rfc4514_string(),
            "serial": f"{certificate.serial_number:x}",
            "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(),
            **names,
            **dict(_alternatives_of(certificate)),
        }
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
        raise _refused("malformed", "the certificate cannot be read") from None


def _alternatives_of(certificate: x509.Certificate) -> Iterator[tuple[str, list[str]]]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for claim, kind in _ALTERNATIVES.items():
        yield claim, found.get_values_for_type(kind)


def _refused(why: str, reason: str) -> IdentityRefused:
    return IdentityRefused(reason, why=why)
