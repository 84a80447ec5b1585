"""Runs lows as the gateway does, and lets a token stand for a name and password that the master took a short while ago."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from service.auth.guard import ShownCredentials
from service.clients import Client
from service.errors import Forbidden, Unauthenticated
from service.gateway.clients.local import Request
from service.gateway.clients.result import LowResult
from service.gateway.low import CREDENTIAL_FIELDS, Low
from service.logins.kept_logins import KeptLogins

Admitted = Callable[[], contextlib.AbstractContextManager[Callable[[], None]]]
# Of django and rest the module itself says the rights, of which a token knows nothing; a password of yubico's is good for one time.
UNFIT_EAUTHS = frozenset({"django", "rest", "yubico"})
# Options of the master with which a token has other rights than the credentials it was made with.
UNFIT_OPTIONS = ("keep_acl_in_token", "eauth_acl_module")
# Further fields that mean something else in a login than in a low. A name and password are all that is needed beside the eauth.
_UNFIT_FIELDS = frozenset({"token", "token_expire", "sharedsecret", "cmd", "key"})
_NEEDED = frozenset({"eauth", "username", "password"})


class LowsRunner(Protocol):
    """The gateway's; see gateway/gateway.py."""

    def run(self, low: Low, request: Request) -> LowResult:
        """Run one low."""

    def check_rights(self, low: Low, admitted: Admitted) -> None:
        """Raise Forbidden if the low does several things and not each of them is permitted."""


@dataclasses.dataclass
class _Taking:
    """Notes that the master took a low, which must not be run once more then. accepted: is told as well."""

    accepted: Callable[[], None]
    taken: bool = False

    def __call__(self) -> None:
        self.taken = True
        self.accepted()


class ReusedLogins:
    """
    In front of the gateway. Called from request threads.

    No caller is ever refused for a token's sake: a low that the master refuses with one is run with the credentials themselves, and the master's answer
    to those is the caller's. Only credentials that it took so before become a token, so a guess costs what it costs without this.

    master_raw: the master's options.
    """

    def __init__(self, runner: LowsRunner, logins: KeptLogins, master_raw: Mapping[str, Any], monotonic: Callable[[], float]) -> None:
        self._runner = runner
        self.logins = logins
        self._is_fit = not any(map(master_raw.get, UNFIT_OPTIONS))
        self._monotonic = monotonic

    def run(self, low: Low, request: Request) -> LowResult:
        """Run one low; its value and its faults are those of the gateway."""
        if not (self._is_fit and self.logins.seconds and is_fit(low.proof)):
            return self._runner.run(low, request)
        shown = self.logins.shown(low.proof)
        with self.logins.held(shown, self._needed(low, request)) as held:
            if held is not None:
                token, was_there = held
                taking = _Taking(lambda: self._accepted(request, was_there=was_there))
                try:
                    return self._runner.run(_with_token(low, token), dataclasses.replace(request, accepted=taking))
                except Unauthenticated:
                    if taking.taken:
                        raise
                    self.logins.refused(shown, token)
        return self._run_itself(low, request, shown)

    def check_rights(self, low: Low, admitted: Admitted) -> None:
        """Raise Forbidden as the gateway does, which logs in by itself where the name does not decide."""
        self._runner.check_rights(low, admitted)

    def _run_itself(self, low: Low, request: Request, shown: ShownCredentials) -> LowResult:
        """Run a low with its own credentials, and learn what the master thinks of them."""

        def accepted() -> None:
            self.logins.good(shown)
            request.accepted()

        try:
            return self._runner.run(low, dataclasses.replace(request, accepted=accepted))
        except Forbidden:
            raise
        except Unauthenticated:
            self.logins.bad(shown)
            raise

    def _needed(self, low: Low, request: Request) -> float:
        """Return for how many seconds a low may ask the master in its caller's name; one that does not wait asks once."""
        return request.deadline - self._monotonic() if low.client.slot == Client.LOCAL.slot else 0.0

    @staticmethod
    def _accepted(request: Request, *, was_there: bool) -> None:
        if was_there:
            request.reused()
        request.accepted()


def is_fit(credentials: Mapping[str, Any]) -> bool:
    """Say whether a token may stand for credentials, with the same rights: a name and password, of a module that has no rights of its own."""
    return credentials.keys() >= _NEEDED and credentials.keys().isdisjoint(_UNFIT_FIELDS) and credentials["eauth"] not in UNFIT_EAUTHS


def _with_token(low: Low, token: str) -> Low:
    """Return the low as a session would send it."""
    return dataclasses.replace(low, fields={**{name: value for name, value in low.fields.items() if name not in CREDENTIAL_FIELDS}, "token": token})
