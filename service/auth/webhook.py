"""Webhooks: who may call which path below the hook URL, by network, signature and time; rest_cherrypy only knows a login, or none."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from service.errors import ConfigFault, InvalidConfiguration, SecretUnavailable, Unauthenticated
from service.http.addresses import Networks
from service.secrets.reading import whole
from service.secrets.secret_file import ROTATION_SECONDS, SecretFile
from service.settings.settings import HookEndpoint

_PREFIX = "sha256="
_MOST_DIGITS = 12


@dataclasses.dataclass(frozen=True)
class PathRules:
    """What a path asks for. secret: of the signature."""

    endpoint: HookEndpoint
    networks: Networks
    secret: SecretFile[bytes] | None


class Webhooks:
    """
    The rules of all paths. Those of a path hold for everything below it too; the longest path that fits decides.

    require_login: ask those for a session who need not sign.
    """

    def __init__(
        self,
        endpoints: Mapping[str, HookEndpoint],
        *,
        require_login: bool,
        on_fault: Callable[[ConfigFault], object] = lambda _fault: None,
        time_of_day: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """on_fault: hears of secrets that cannot be read any more. Raises InvalidConfiguration when one cannot be read now."""
        secrets = _secrets_of(endpoints, on_fault, monotonic)
        faults = [fault for secret in secrets.values() for fault in secret.faults()]
        if faults:
            raise InvalidConfiguration(faults)
        self._require_login = require_login
        self._time_of_day = time_of_day
        self._rules = {segments_of(name): PathRules(one, Networks(one.networks), secrets.get(name)) for name, one in endpoints.items()}

    def admit_address(self, path: tuple[str, ...], address: str) -> None:
        """Raise Unauthenticated if nobody may call the path from there."""
        rules = self._of(path)
        if rules is not None and rules.networks and address not in rules.networks:
            raise Unauthenticated("webhooks for this path do not come from this address (hook.endpoints)")

    def needs_login(self, path: tuple[str, ...]) -> bool:
        """Say whether the path asks for a session."""
        rules = self._of(path)
        return self._require_login and (rules is None or rules.secret is None)

    def check(self, path: tuple[str, ...], body: bytes, header: Callable[[str], str | None]) -> None:
        """
        Raise Unauthenticated, with the reason, for a call whose signature or time is not good; SecretUnavailable while that cannot be told.

        header: returns a header of the request.
        """
        rules = self._of(path)
        if rules is None or rules.secret is None:
            return
        endpoint = rules.endpoint
        given = (header(endpoint.signature_header) or "").strip()
        if not given:
            raise Unauthenticated(f"no signature: the header {endpoint.signature_header} is missing")
        if not given.lower().startswith(_PREFIX):
            raise Unauthenticated(f"the signature in {endpoint.signature_header} does not begin with {_PREFIX}")
        signed = body
        if endpoint.timestamp_header:
            stamp = (header(endpoint.timestamp_header) or "").strip()
            self._check_time(stamp, endpoint)
            signed = stamp.encode("ascii") + b"." + body
        expected = hmac.digest(_in_force(rules.secret), signed, hashlib.sha256).hex()
        if not hmac.compare_digest(expected.encode(), given[len(_PREFIX) :].lower().encode("utf-8", "surrogateescape")):
            raise Unauthenticated("the signature does not fit the body")

    def _check_time(self, stamp: str, endpoint: HookEndpoint) -> None:
        if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= _MOST_DIGITS):
            raise Unauthenticated(f"the header {endpoint.timestamp_header} does not hold a Unix time")
        if abs(self._time_of_day() - int(stamp)) > endpoint.tolerance_seconds:
            raise Unauthenticated(f"the time in {endpoint.timestamp_header} is more than {endpoint.tolerance_seconds:g} s away from ours")

    def _of(self, path: tuple[str, ...]) -> PathRules | None:
        for length in range(len(path), -1, -1):
            if path[:length] in self._rules:
                return self._rules[path[:length]]
        return None


def endpoint_faults(endpoints: Mapping[str, HookEndpoint]) -> list[ConfigFault]:
    """Return what is wrong with the files that the rules name."""
    return [fault for secret in _secrets_of(endpoints).values() for fault in secret.faults()]


def _secrets_of(
    endpoints: Mapping[str, HookEndpoint],
    on_fault: Callable[[ConfigFault], object] = lambda _fault: None,
    monotonic: Callable[[], float] = time.monotonic,
) -> dict[str, SecretFile[bytes]]:
    def secret(name: str, path: Path) -> SecretFile[bytes]:
        return SecretFile(path, f"hook.endpoints.{name}.secret_file", whole, on_fault, keep_seconds=ROTATION_SECONDS, monotonic=monotonic)

    return {name: secret(name, one.secret_file) for name, one in endpoints.items() if one.secret_file}


def _in_force(secret: SecretFile[bytes]) -> bytes:
    try:
        return secret.value()
    except InvalidConfiguration as exc:
        raise SecretUnavailable(exc.faults[0].where + ": the file holds no secret; the log says more", retry_after_seconds=ROTATION_SECONDS) from exc


def segments_of(path: str) -> tuple[str, ...]:
    """Return a path's parts; empty ones do not count."""
    return tuple(part for part in path.split("/") if part)
