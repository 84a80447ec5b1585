"""Faults: every exception we raise on purpose, named after what happened, with the HTTP status it becomes."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any, ClassVar


class Fault(Exception):
    """
    Something a caller or an operator must be told.

    reason: one sentence for people, never holding a credential.
    details: further keys of the error body (`jid`, `field`), also without credentials.
    """

    status: ClassVar[int] = 500
    outcome: ClassVar[str] = "error"

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None, **details: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.details = details


class BadRequest(Fault):
    """The request cannot be understood or asks for something that does not exist."""

    status = 400
    outcome = "invalid"


class ClientDisabled(BadRequest):
    """The low names a client that `netapi_enable_clients` does not list."""


class UnknownFunction(BadRequest):
    """The master has no such runner function."""


class Unauthenticated(Fault):
    """The master, or the shape of the credentials, says no: bad password, dead token, or a right that is missing."""

    status = 401
    outcome = "authn_error"


class Forbidden(Unauthenticated):
    """
    The credentials are good but do not allow this function.

    401 and not 403: clients of rest_cherrypy log in again on 401 and know no 403.
    """

    outcome = "authz_error"


class AddressRefused(Fault):
    """
    The caller's address is in none of `access.networks`.

    403, as rest_cherrypy's `authorized_ips`: logging in again would not help.
    """

    status = 403
    outcome = "authz_error"


class NotFound(Fault):
    """No such URL."""

    status = 404
    outcome = "invalid"


class MethodNotAllowed(Fault):
    """The URL exists, the method does not."""

    status = 405
    outcome = "invalid"


class NotAcceptable(Fault):
    """The body's media type is none of ours (rest_wsgi answers 406 here, where HTTP would say 415)."""

    status = 406
    outcome = "invalid"


class Conflict(Fault):
    """What is asked for would overwrite something."""

    status = 409
    outcome = "invalid"


class TooLarge(Fault):
    """The body is over `api.body_limit_bytes`."""

    status = 413
    outcome = "invalid"


class Throttled(Fault):
    """
    Too many failed or too many concurrent authentications.

    Counted as a failed authentication: guessing passwords must not look as if we failed our callers.
    """

    status = 429
    outcome = "authn_error"


class NotOffered(Fault):
    """A URL of rest_cherrypy or rest_tornado that we do not serve on purpose."""

    status = 501
    outcome = "invalid"


class Overloaded(Fault):
    """All slots of this kind of work are taken."""

    status = 503
    outcome = "overloaded"


class Draining(Overloaded):
    """The process is stopping and opens no more streams."""


class AuditUnavailable(Fault):
    """In strict mode, and no sink takes the audit record: the request was not run."""

    status = 503


class MasterUnreachable(Fault):
    """The master does not answer on its request port, or its event bus is closed."""

    status = 503
    outcome = "master_unreachable"


class BusNotWritable(MasterUnreachable):
    """We may not fire events: the master's socket for that is its own user's."""


class MasterTimeout(Fault):
    """The master took the request and did not answer within `master.rpc_timeout_seconds`."""

    status = 504
    outcome = "timeout"


class JobTimeout(Fault):
    """The job did not finish before its deadline; `jid` is in the details."""

    status = 504
    outcome = "timeout"


class MasterRefused(Fault):
    """The master answered with an error that is neither authentication nor authorisation."""

    status = 500
    outcome = "error"


@dataclasses.dataclass(frozen=True)
class ConfigFault:
    """One thing that is wrong with the configuration, and how to mend it."""

    where: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}. Fix: {self.fix}"


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """
    Return a question that names what is nearest to an unknown name, with a blank after it; nothing when nothing is near.

    prefix: what every known name begins with; left out of the comparison, where it would make all of them near.
    """
    by_spelling = {one.removeprefix(prefix).lower(): one for one in known}
    asked = name.removeprefix(prefix).lower().replace("-", "_")
    near = difflib.get_close_matches(asked, by_spelling, n=3)
    alike = [difflib.SequenceMatcher(None, one, asked).ratio() for one in near]
    return one_of(by_spelling[one] for one, ratio in zip(near, alike, strict=True) if ratio == alike[0])


def one_of(names: Iterable[str]) -> str:
    """Return the question whether one of these was meant; nothing when there is none."""
    quoted = " or ".join(sorted(f"`{name}`" for name in names))
    return f"did you mean {quoted}? " if quoted else ""


class InvalidConfiguration(Exception):
    """The process cannot start; carries every fault found, not only the first."""

    def __init__(self, faults: list[ConfigFault]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults
