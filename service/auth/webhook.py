"""Webhooks: who may call which path below the hook URL, by network, signature, time and token; rest_cherrypy only knows a login, or none."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from service.auth.webhook_proofs import Header, WebhookSignature, check_token
from service.errors import BadRequest, ConfigFault, InvalidConfiguration, Unauthenticated
from service.http.addresses import Networks
from service.secrets.reading import first_line, whole
from service.secrets.secret_file import ROTATION_SECONDS, SecretFile
from service.settings.settings import HookEndpoint

Secrets = Mapping[str, SecretFile[bytes]]  # by the option that names the file


@dataclasses.dataclass(frozen=True)
class WebhookAdmission:
    """
    A webhook that may be done.

    path: whose signature or token it has shown, empty if none. once: done inside it, so that its signature counts once. secret_headers: what nobody else may read.
    """

    path: str = ""
    once: contextlib.AbstractContextManager[None] = dataclasses.field(default_factory=contextlib.nullcontext)
    secret_headers: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class PathRules:
    """What a path asks for; `name` is the path. token_header: where the token stands."""

    name: str = ""
    networks: Networks = dataclasses.field(default_factory=Networks)
    signature: WebhookSignature | None = None
    token: SecretFile[bytes] | None = None
    token_header: str = ""

    @property
    def has_proof(self) -> bool:
        """Whether the path has something of its own in the place of a login."""
        return self.signature is not None or self.token is not None


class Webhooks:
    """
    The rules of all paths. Those of a path hold for everything below it too; the longest path that fits decides.

    require_login: ask those for a session who need no signature or token.
    """

    def __init__(
        self,
        endpoints: Mapping[str, HookEndpoint],
        *,
        require_login: bool,
        on_fault: Callable[[ConfigFault], object] = lambda _fault: None,
        judging: Callable[[str, str], contextlib.AbstractContextManager[None]] = lambda _what, _address: contextlib.nullcontext(),
        time_of_day: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        on_fault: hears of secrets that cannot be read any more. judging(what, address): proofs are judged inside it, see `Guard.judging`.

        Raises InvalidConfiguration for what `endpoint_faults` returns.
        """
        secrets = _secrets_of(endpoints, on_fault, monotonic)
        faults = _faults(endpoints, secrets)
        if faults:
            raise InvalidConfiguration(faults)
        self._require_login = require_login
        self._judging = judging
        self._rules = {segments_of(name): _rules(name, one, secrets, time_of_day) for name, one in endpoints.items()}
        self._guarded = ["/".join(path) for path, rules in self._rules.items() if rules.has_proof or rules.networks]

    def admit_address(self, path: tuple[str, ...], address: str) -> None:
        """Raise Unauthenticated if nobody may call the path from there."""
        networks = self._of(path).networks
        if networks and address not in networks:
            raise Unauthenticated("webhooks for this path do not come from this address (hook.endpoints)")

    def needs_login(self, path: tuple[str, ...]) -> bool:
        """
        Say whether the path asks for a session.

        Where no login is asked for, it still is for a path that only begins as a guarded one does: to a reactor on
        `salt/netapi/hook/github*` the event of `/hook/githubx` is GitHub's.
        """
        rules, text = self._of(path), "/".join(path)
        if rules.has_proof:
            return False
        return self._require_login or any(text.startswith(name) and len(name) > len(rules.name) for name in self._guarded)

    def check(self, path: tuple[str, ...], body: bytes, header: Header, address: str) -> WebhookAdmission:
        """
        Raise Unauthenticated, with the reason, for a call whose signature, time or token is not good; SecretUnavailable while that cannot be told.

        Raises Throttled when too many from its address were not good for the path.
        """
        rules = self._of(path)
        if not rules.has_proof:
            return WebhookAdmission()
        with self._judging(f"webhook {rules.name}", address):
            return self._judged(rules, path, body, header)

    def _judged(self, rules: PathRules, path: tuple[str, ...], body: bytes, header: Header) -> WebhookAdmission:
        admission = WebhookAdmission(rules.name)
        if rules.token is not None:
            check_token(rules.token_header, rules.token, header)
            admission = dataclasses.replace(admission, secret_headers=frozenset({rules.token_header.title()}))
        if rules.signature is not None:
            admission = dataclasses.replace(admission, once=rules.signature.check("/".join(path), body, header))
        return admission

    def _of(self, path: tuple[str, ...]) -> PathRules:
        return next((self._rules[path[:length]] for length in range(len(path), -1, -1) if path[:length] in self._rules), PathRules())


def endpoint_faults(endpoints: Mapping[str, HookEndpoint]) -> list[ConfigFault]:
    """Return what is wrong with the paths, and with the files that their rules name."""
    return _faults(endpoints, _secrets_of(endpoints))


def segments_of(path: str) -> tuple[str, ...]:
    """Return a path's parts; empty ones do not count. Raises BadRequest for what cannot be a tag, or what a proxy might take for another path."""
    segments = tuple(part for part in path.split("/") if part)
    if not path.isprintable() or not {".", ".."}.isdisjoint(segments):
        raise BadRequest("the path cannot be an event's tag")
    return segments


def _rules(name: str, endpoint: HookEndpoint, secrets: Secrets, time_of_day: Callable[[], float]) -> PathRules:
    secret, token = secrets.get(_option(name, "secret_file")), secrets.get(_option(name, "token_file"))
    signature = WebhookSignature(endpoint, secret, time_of_day) if secret else None
    return PathRules("/".join(segments_of(name)), Networks(endpoint.networks), signature, token, endpoint.token_header)


def _secrets_of(
    endpoints: Mapping[str, HookEndpoint],
    on_fault: Callable[[ConfigFault], object] = lambda _fault: None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Secrets:
    def secret(where: str, path: Path, parse: Callable[[bytes], bytes]) -> SecretFile[bytes]:
        return SecretFile(path, where, parse, on_fault, keep_seconds=ROTATION_SECONDS, monotonic=monotonic)

    named = [
        (_option(name, option), path, parse)
        for name, one in endpoints.items()
        for option, path, parse in (("secret_file", one.secret_file, whole), ("token_file", one.token_file, first_line))
    ]
    return {where: secret(where, path, parse) for where, path, parse in named if path}


def _option(name: str, option: str) -> str:
    return f"hook.endpoints.{name}.{option}"


def _faults(endpoints: Mapping[str, HookEndpoint], secrets: Secrets) -> list[ConfigFault]:
    return [*_path_faults(endpoints), *(fault for secret in secrets.values() for fault in secret.faults()), *_shared(secrets)]


def _path_faults(endpoints: Mapping[str, HookEndpoint]) -> list[ConfigFault]:
    faults: list[ConfigFault] = []
    names: dict[tuple[str, ...], str] = {}
    for name in endpoints:
        try:
            other = names.setdefault(segments_of(name), name)
        except BadRequest:
            faults.append(ConfigFault(f"hook.endpoints.{name!r}", "no webhook can have this path", "leave out dot segments and control characters"))
            continue
        if other != name:
            faults.append(ConfigFault(f"hook.endpoints.{name}", f"is the same path as {other}", "put the rules of a path in one place"))
    return faults


def _shared(secrets: Secrets) -> list[ConfigFault]:
    """Return the secrets that open two paths: what is signed for one would be good on the other."""
    users: dict[bytes, list[str]] = {}
    for where, secret in secrets.items():
        if not secret.faults():
            users.setdefault(secret.value(), []).append(where)
    return [
        ConfigFault(where, f"has the same secret as {first}, so that what is signed for one path is good on the other", "give each path a secret of its own")
        for first, *others in users.values()
        for where in others
    ]
