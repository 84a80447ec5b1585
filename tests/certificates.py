"""Certificates: one that a server on loopback shows, and an authority that signs those of callers."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Signed:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write both into a folder; return their files."""
        key = self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        files = folder / f"{name}.crt", folder / f"{name}.key"
        files[0].write_text(self.pem)
        files[1].write_bytes(key)
        return files


def _named(common_name: str, organizational_unit: str | None = None) -> x509.Name:
    names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")]
    if organizational_unit is not None:
        names.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, organizational_unit))
    return x509.Name(names)


class Authority:
    """Signs certificates. name: its own."""

    def __init__(self, name: str = "an authority") -> None:
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())

    @functools.cached_property
    def own(self) -> Signed:
        """Its own certificate."""
        builder = self._builder(self._name, self._key, DAY).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return Signed(builder.sign(self._key, hashes.SHA256()), self._key)

    def sign(
        self, common_name: str, *, unit: str | None = "ci", alternatives: Sequence[x509.GeneralName] = (), ends: dt.timedelta = DAY, begins: dt.timedelta = -DAY
    ) -> Signed:
        """Return a new certificate. begins, ends: from now on."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_named(common_name, unit), key, ends, begins)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return Signed(builder.sign(self._key, hashes.SHA256()), key)

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, ends: dt.timedelta, begins: dt.timedelta = -DAY) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.timezone.utc)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        return made.not_valid_before(now + begins).not_valid_after(now + ends)


def certificate(folder: Path) -> Path:
    """Make a certificate of 127.0.0.1, which its callers trust as it is, and its key, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = dt.datetime.now(dt.timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + DAY)
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=True)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "pair.pem"
    file.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + private)
    return file
