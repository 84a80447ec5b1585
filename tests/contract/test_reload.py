"""SIGHUP: what the log calls applied is what somebody took over."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.settings.settings import is_reloadable, options
from tests.contract.conftest import LENIENT, Api, fake_api

PING = {"client": "local", "tgt": "*", "fun": "test.ping"}


def reload(api: Api, folder: Path, **environ: str) -> dict[str, list[str]]:
    """Reload with these settings; return the line that says what came of it."""
    with capture_logs() as lines:
        api.process.reloading.reload({"SALT_MASTER_CONFIG": str(folder / "master"), **LENIENT, **environ})
    (loaded,) = (line for line in lines if line["event"] == "config.loaded")
    return {"applied": loaded["applied"], "needs_restart": loaded["needs_restart"]}


def test_an_option_is_marked_reloadable_if_and_only_if_somebody_takes_it(tmp_path: Path) -> None:
    taken = {name for applier in fake_api(tmp_path).process.reloading.appliers for name in applier.takes}

    assert taken == {name for name, field in options().items() if is_reloadable(field)}


def test_what_is_called_applied_counts_from_then_on(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    before = api.caller.post([{**api.demo, **PING}] * 2).status
    said = reload(api, tmp_path, SIDECAR_LIMITS_LOWS_PER_REQUEST="1", SIDECAR_LIMITS_SYNC_JOBS="3")

    assert (before, api.caller.post([{**api.demo, **PING}] * 2).status) == (200, 400)
    assert said["applied"] == ["limits.lows_per_request"]
    assert said["needs_restart"] == ["limits.sync_jobs"]
    assert (api.process.reloading.settings.limits.lows_per_request, api.process.reloading.settings.limits.sync_jobs) == (1, 256)


def test_what_nobody_takes_is_not_called_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = fake_api(tmp_path)
    monkeypatch.setattr(api.process.reloading, "appliers", ())
    said = reload(api, tmp_path, SIDECAR_LIMITS_LOWS_PER_REQUEST="1")

    assert said["applied"] == []
    assert said["needs_restart"] == ["limits.lows_per_request"]
    assert api.process.reloading.settings.limits.lows_per_request == 100
