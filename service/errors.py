"""Faults: every exception we raise on purpose, named after what happened, with the HTTP status it becomes."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

RetryAfter = Literal["never", "sometimes", "always"]


class Fault(Exception):
    """
    Something went wrong that nobody expected; the log says more under the request's id.

    Each class is one row of the table of faults: `status` is HTTP's, `outcome` a label value of the metrics, `retry_after` whether the answer has
    that header, and the first line of the docstring says what it means. What body a fault becomes is up to its family of URLs (http/app.py).

    reason: one sentence for people, never holding a credential.
    details: further keys of the error's body, also without credentials: `jid`, `field`, and of a lowstate that failed half-way `completed` and `jids`.
    """

    kind: ClassVar[str] = "Fault"
    status: int = 500
    outcome: ClassVar[str] = "error"
    retry_after: ClassVar[RetryAfter] = "never"

    def __init_subclass__(cls, *, status: int | None = None, outcome: str | None = None, retry_after: RetryAfter | None = None) -> None:
        """What a kind does not say is as in the kind it belongs to."""
        cls.kind = cls.__name__
        cls.status = status or cls.status
        cls.outcome = outcome or cls.outcome
        cls.retry_after = retry_after or cls.retry_after

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None, **details: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.details = {name: value for name, value in details.items() if value is not None}

    @classmethod
    def meaning(cls) -> str:
        """Return what the kind means, in one sentence."""
        return (cls.__doc__ or "").strip().partition("\n")[0]


class BadRequest(Fault, status=400, outcome="invalid"):
    """The request cannot be understood or asks for something that does not exist."""


class ClientDisabled(BadRequest):
    """The low names a client that `netapi_enable_clients` does not list."""


class UnknownFunction(BadRequest):
    """The master has no such runner function."""


class Unauthenticated(Fault, status=401, outcome="authn_error"):
    """The master, or the shape of the credentials, says no: bad password, dead token, or a right that is missing."""


class IdentityRefused(Unauthenticated):
    """The id token, or the client certificate, is not good, or no rule gives it an account; `why` says which."""


class Forbidden(Unauthenticated, outcome="authz_error"):
    """
    The credentials are good but do not allow this function.

    401 and not 403: clients of rest_cherrypy log in again on 401 and know no 403.
    """


class AddressRefused(Fault, status=403, outcome="authz_error"):
    """
    The caller's address is in none of `access.networks`.

    403, as rest_cherrypy's `authorized_ips`: logging in again would not help.
    """


class NotFound(Fault, status=404, outcome="invalid"):
    """No such URL."""


class NoSuchJob(Fault, status=404, outcome="invalid"):
    """The caller has no job of this id, or the job has no such minion."""


class NoSuchToken(Fault, status=404, outcome="invalid"):
    """The caller has no scoped token of this id."""


class MethodNotAllowed(Fault, status=405, outcome="invalid"):
    """The URL exists, the method does not."""


class NotAcceptable(Fault, status=406, outcome="invalid"):
    """The body's media type, or every type that the caller accepts, is not one of ours (rest_wsgi answers 406 here, where HTTP would say 415)."""


class UnknownEncoding(Fault, status=415, outcome="invalid"):
    """The body is compressed, or its charset is none that we read."""


class Conflict(Fault, status=409, outcome="invalid"):
    """What is asked for would overwrite something, or the low's `jid` is another job's."""


class NothingLeft(Fault, status=409, outcome="invalid"):
    """The job is over, and none of its minions is to run it again."""


class GroupBusy(Conflict, retry_after="always"):
    """Another job of the `concurrency` group is not over; `jid` says which, to whoever may see it."""


class RangeBeyondEnd(Fault, status=416, outcome="invalid"):
    """The `Range` begins beyond the end of what there is."""


class Unprocessable(Fault, status=422, outcome="invalid"):
    """The request is understood, but some of its fields cannot be taken; `errors` has a JSON pointer for each."""


class KeyReused(Fault, status=422, outcome="invalid"):
    """The `Idempotency-Key` was used for another request; `jid` says which."""


class TooLarge(Fault, status=413, outcome="invalid"):
    """The body is over `api.body_limit_bytes`, or over the smaller limit of its type or URL; or a low is over `api.load_limit_bytes`."""


class Throttled(Fault, status=429, outcome="authn_error", retry_after="always"):
    """
    Too many failed or too many concurrent authentications.

    Counted as a failed authentication: guessing passwords must not look as if we failed our callers.
    """


class NotOffered(Fault, status=501, outcome="invalid"):
    """A URL of rest_cherrypy or rest_tornado that we do not serve on purpose."""


class Overloaded(Fault, status=503, outcome="overloaded", retry_after="always"):
    """All slots of this kind of work are taken."""


class ShareTaken(Overloaded):
    """The caller's user or address holds its share of these slots (`limits.share`); the others are kept for others."""


class Draining(Overloaded):
    """The process is stopping and opens no more streams."""


class AuditUnavailable(Fault, status=503, retry_after="always"):
    """The request was not run: `audit.mode` is `strict`, and no sink took its record."""


class SecretUnavailable(Fault, status=503, retry_after="always"):
    """The file of a secret that the request needs, of a webhook or of `identities.key_file`, cannot be read or used."""


class KeysUnavailable(Fault, status=503, retry_after="always"):
    """The keys of an id token's issuer cannot be had, so nobody can say whether the token is good."""


class StorageUnavailable(Fault, status=503, retry_after="always"):
    """The store of jobs (`jobs.store`) cannot be used; everything but `/v1/jobs` works."""


class StorageFull(StorageUnavailable):
    """The volume of the store of jobs is full: no new jobs are taken; running ones are closed, and all can be read."""


class MasterUnreachable(Fault, status=503, outcome="master_unreachable", retry_after="sometimes"):
    """The master does not answer on its request port, or its event bus is closed."""


class BusNotWritable(MasterUnreachable, retry_after="never"):
    """The sidecar may not fire events: the master's socket for them belongs to the master's user."""


class MasterTimeout(Fault, status=504, outcome="timeout"):
    """The master took the request and did not answer within `master.rpc_timeout_seconds`."""


class JobTimeout(Fault, status=504, outcome="timeout"):
    """The job did not finish before its deadline; `jid` says which."""


class MasterRefused(Fault):
    """The master answered with an error that is neither authentication nor authorisation."""


# Every kind there is, by status.
FAULTS = tuple(sorted((one for one in list(globals().values()) if isinstance(one, type) and issubclass(one, Fault)), key=lambda one: one.status))


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
