"""Faults: their statuses are those that clients know, and they say all that is wrong."""

from __future__ import annotations

import pytest

from service import errors
from service.errors import FAULTS, BadRequest, BusNotWritable, ConfigFault, Fault, Forbidden, InvalidConfiguration


def faults(base: type[Fault] = Fault) -> list[type[Fault]]:
    return [base, *(below for one in base.__subclasses__() for below in faults(one))]


STATUSES = {
    "BadRequest": 400, "ClientDisabled": 400, "UnknownFunction": 400, "Unauthenticated": 401, "Forbidden": 401, "NotFound": 404, "MethodNotAllowed": 405,
    "NotAcceptable": 406, "TooLarge": 413, "UnknownEncoding": 415, "Throttled": 429, "Fault": 500, "MasterRefused": 500, "Overloaded": 503, "ShareTaken": 503, "Draining": 503, "MasterUnreachable": 503,
    "MasterTimeout": 504, "JobTimeout": 504, "AddressRefused": 403, "Conflict": 409, "NothingLeft": 409, "GroupBusy": 409, "NotOffered": 501, "BusNotWritable": 503, "AuditUnavailable": 503, "SecretUnavailable": 503,
    "Unprocessable": 422, "KeyReused": 422, "RangeBeyondEnd": 416, "NoSuchJob": 404, "NoSuchToken": 404, "StorageUnavailable": 503, "StorageFull": 503,
    "IdentityRefused": 401, "KeysUnavailable": 503,
}  # fmt: skip


def test_every_fault_has_the_status_that_clients_know() -> None:
    assert {fault.kind: fault.status for fault in FAULTS} == STATUSES


def test_the_table_has_every_fault_under_its_name() -> None:
    assert set(FAULTS) == {fault for fault in faults() if fault.__module__ == errors.__name__}
    assert all(fault.kind == fault.__name__ for fault in faults())


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_says_in_one_sentence_what_it_means(fault: type[Fault]) -> None:
    assert fault.meaning().endswith(".")
    assert fault.meaning()[0].isupper()


def test_a_kind_is_as_the_one_it_belongs_to_in_all_that_it_does_not_say() -> None:
    assert (Forbidden.status, Forbidden.outcome, Forbidden.retry_after) == (401, "authz_error", "never")
    assert (BusNotWritable.status, BusNotWritable.outcome, BusNotWritable.retry_after) == (503, "master_unreachable", "never")


@pytest.mark.parametrize("fault", faults())
def test_every_fault_has_a_known_outcome(fault: type[Fault]) -> None:
    assert fault.outcome in {"invalid", "authn_error", "authz_error", "overloaded", "master_unreachable", "timeout", "error"}


def test_a_fault_keeps_its_reason_and_what_else_the_caller_may_know() -> None:
    fault = BadRequest("no", retry_after_seconds=2, field="fun")

    assert (str(fault), fault.reason, fault.retry_after_seconds, fault.details) == ("no", "no", 2, {"field": "fun"})


def test_two_faults_do_not_share_their_details() -> None:
    one, other = BadRequest("x"), BadRequest("y")
    one.details["jid"] = "1"

    assert other.details == {}


def test_an_invalid_configuration_tells_every_fault_and_its_fix() -> None:
    invalid = InvalidConfiguration([ConfigFault("api.port", "is taken", "choose another"), ConfigFault("log.level", "is odd", "use info")])

    assert str(invalid) == "api.port: is taken. Fix: choose another; log.level: is odd. Fix: use info"
