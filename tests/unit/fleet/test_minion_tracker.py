"""The fleet metrics: what the bus tells of minions, and nothing where nobody knows."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from service.fleet.minion_tracker import key_folder
from service.settings.settings import PerMinionSettings
from tests.unit.fleet.following import Following


def test_minions_are_seen_in_windows_whatever_they_say() -> None:
    bus = Following()
    bus.answer("old")
    bus.now += 3000
    bus.hear("salt/minion/started/start", {})
    bus.hear("minion_start", {"id": "started"})
    bus.hear("salt/beacon/lit/load/", {})
    bus.now += 400
    bus.hear("minion/refresh/fresh", {})
    bus.hear("salt/auth", {"id": "key", "act": "accept", "result": True, "pub": "x"})
    bus.hear("salt/auth", {"id": "stranger", "act": "pend", "result": True})
    bus.hear("salt/auth", {"id": "stranger", "act": "invented", "result": False})

    assert bus.values("salt_minions_seen") == {"5m": 2, "1h": 5, "24h": 5}
    assert bus.values("salt_minion_starts_total") == {"": 1}
    assert bus.values("salt_minion_auth_events_total") == {"accept,true": 1, "pend,true": 1, "error,false": 1}


def test_the_last_real_highstate_of_each_minion_counts() -> None:
    bus = Following()
    good = {"a_|-b_|-b_|-c": {"result": True, "changes": {}}}
    bus.answer("m1", fun="state.highstate", ret=good, retcode=1)
    bus.answer("m1", fun="state.apply", ret=good)
    bus.answer("m2", fun="state.apply", ret={**good, "x": {"result": False, "changes": {}}})
    for number, arguments in enumerate((["web"], [{"__kwarg__": True, "mods": "web"}], ["test=True"], [{"__kwarg__": True, "test": True}])):
        bus.answer("m2", jid=str(number), fun="state.apply", ret=good, fun_args=arguments)
    bus.answer("m3")

    assert bus.values("salt_minions_state_status") == {"success": 1, "failure": 1, "unknown": 1}
    bus.wait(90_000)
    assert bus.values("salt_minions_state_status") == {}


def test_who_is_connected_is_known_only_while_the_master_says_so() -> None:
    bus = Following()
    assert bus.value("salt_minions_connected") is None
    bus.hear("salt/presence/present", {"present": ["m1", "m2"]})
    bus.hear("salt/presence/change", {"new": ["m2"], "lost": ["m3", "m4"]})

    assert bus.value("salt_minions_connected") == 2
    assert bus.values("salt_minion_presence_changes_total") == {"new": 1, "lost": 2}
    bus.wait(301)
    assert bus.value("salt_minions_connected") is None


def test_the_masters_workers_are_summed_up() -> None:
    bus = Following()
    for worker in ("w1", "w2"):
        bus.hear(f"salt/stats/{worker}", {"stats": {"_auth": {"mean": 0.5, "runs": 4}, "ping": {"mean": 0.1, "runs": 10}}})

    assert bus.values("salt_master_worker_requests_total") == {"_auth": 8, "ping": 20}
    assert bus.values("salt_master_worker_busy_seconds_total") == {"_auth": 4, "ping": 2}


def test_keys_are_read_again_after_they_changed_and_now_and_then(tmp_path: Path) -> None:
    for folder, names in {"minions": ["m1", "m2", ".key_cache"], "minions_pre": ["m3"], "minions_rejected": [], "minions_denied": []}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    bus = Following(pki=tmp_path)
    bus.wait(0)
    assert bus.values("salt_minion_keys") == {"accepted": 2, "pending": 1}
    assert bus.value("salt_minion_keys", state="denied") == 0
    (tmp_path / "minions_pre" / "m3").rename(tmp_path / "minions" / "m3")
    bus.hear("salt/key", {"id": "m3", "act": "accept", "result": True})
    assert bus.value("salt_minion_keys", state="accepted") == 2  # they come in bursts
    bus.wait(5)
    assert bus.value("salt_minion_keys", state="accepted") == 3
    (tmp_path / "minions" / "m9").touch()
    bus.wait(600)
    assert bus.value("salt_minion_keys", state="accepted") == 3
    bus.wait(3600)
    assert bus.value("salt_minion_keys", state="accepted") == 4


def test_keys_that_cannot_be_read_are_absent_and_not_none(tmp_path: Path) -> None:
    for pki in (None, tmp_path / "absent"):
        bus = Following(pki=pki)
        bus.wait(0)
        assert bus.value("salt_minion_keys", state="accepted") is None


def test_keys_are_looked_for_where_the_master_keeps_them() -> None:
    assert key_folder({"pki_dir": "/a"}) == Path("/a")
    assert key_folder({"pki_dir": "/a", "cluster_id": "c", "cluster_pki_dir": "/b"}) == Path("/b")
    assert key_folder({"pki_dir": "/a", "keys.cache_driver": "mmap_key"}) is None
    assert key_folder({}) is None


def test_single_minions_have_series_only_when_asked_for() -> None:
    bus = Following(per_minion=PerMinionSettings(enabled=True, max=2, allow="web*"))
    bus.answer("web1", fun="state.highstate", ret={})
    with capture_logs() as lines:
        for minion in ("web2", "db1", "web3", "web4"):
            bus.answer(minion, jid="2")

    assert bus.values("salt_minion_last_seen_timestamp_seconds") == {"web1": 1000, "web2": 1000}
    assert bus.values("salt_minion_last_highstate_success") == {"web1": 1}
    assert bus.values("salt_api_label_overflow_total") == {"salt_minion_last_seen_timestamp_seconds": 2}
    assert [line["event"] for line in lines] == ["label.overflow"]
    plain = Following()
    plain.answer("web1")
    assert plain.values("salt_minion_last_seen_timestamp_seconds") == {}


def test_the_memory_for_minions_has_an_end() -> None:
    bus = Following(per_minion=PerMinionSettings(enabled=True), most_minions=3)
    for number in range(5):
        bus.answer(f"m{number}", jid=str(number))

    assert bus.value("salt_minions_seen", window="5m") == 3
    assert sorted(bus.values("salt_minion_last_seen_timestamp_seconds")) == ["m2", "m3", "m4"]
