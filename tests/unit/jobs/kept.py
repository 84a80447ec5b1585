"""Jobs and their minions as a store keeps them, for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

from service.jobs.job_request import digest_of, parse
from service.jobs.stores.store import JobRecord

JID = "20260101000000000001"
OWNER = "pam:ci"


def job(jid: str = JID, **fields: Any) -> JobRecord:
    """Return a job of test.echo that was begun at 1000 and has an hour."""
    request = {**parse({"tgt": "*", "fun": "test.echo"}).kept(), **fields.pop("request", {})}
    record = JobRecord(jid, OWNER, None, "print", request, digest_of(["a"]), since=1000.0, deadline=4600.0, boot="boot", ends_at=4600.0)
    return dataclasses.replace(record, **fields)
