"""The thread that follows jobs where others may follow them too: it takes over what nobody follows, and gives up what another does."""

from __future__ import annotations

import threading

import pytest

from service.errors import StorageUnavailable
from service.jobs.running.running_jobs import PRUNE_SECONDS
from service.jobs.stores.store import JobRecord
from tests.unit.jobs.kept import JID, job
from tests.unit.jobs.process import PATIENCE_SECONDS, Sidecar
from tests.unit.jobs.test_running_jobs import sidecar

__all__ = ["sidecar"]


def test_a_job_that_nobody_follows_any_more_is_followed_within_a_minute(sidecar: Sidecar) -> None:
    sidecar.jobs.start()
    sidecar.until(lambda: sidecar.store.size_bytes() and not sidecar.jobs.watched.open_jobs)
    sidecar.store.intend(job())
    sidecar.now += PRUNE_SECONDS
    sidecar.until(lambda: sidecar.report.recovered == [1])

    assert sidecar.jobs.watched.get(JID) is not None


def test_a_job_that_another_sidecar_follows_by_now_is_dropped_and_not_reported(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    sidecar.begin("a")
    waiting = threading.Thread(target=sidecar.jobs.watched.wait, args=(JID, 60))
    waiting.start()
    monkeypatch.setattr(sidecar.store, "save", lambda changes: {change.job.jid for change in changes})
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.jobs.watched.get(JID) is None)
    waiting.join(PATIENCE_SECONDS)

    assert not waiting.is_alive()
    assert (sidecar.status, sidecar.report.ends) == (("running", None), [])


def test_a_store_that_is_away_at_the_start_is_no_bug(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> list[JobRecord]:
        raise StorageUnavailable("away")

    monkeypatch.setattr(sidecar.store, "unfinished", away)
    sidecar.jobs.start()

    sidecar.until(lambda: sidecar.report.not_stored == ["away"])
