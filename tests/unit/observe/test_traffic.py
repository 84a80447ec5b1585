"""The figures of /stats add up."""

from __future__ import annotations

from service.observe.metrics.traffic import Traffic


class Pool:
    def threads(self) -> int:
        return 8

    def busy_threads(self) -> int:
        return 3

    def queue_depth(self) -> int:
        return 2


def test_nothing_has_happened_yet() -> None:
    stats = Traffic("1.0", time_of_day=lambda: 100.0).statistics()

    assert stats["CherryPy Applications"]["Total Requests"] == 0
    assert stats["CherryPy Applications"]["Bytes Read/Request"] == 0
    assert stats["Cheroot HTTPServer 1"]["Threads"] == 0


def test_requests_are_summed_up_and_averaged() -> None:
    now = [100.0]
    traffic = Traffic("1.0", time_of_day=lambda: now[0])
    traffic.served(10, 100, 0.5)
    traffic.served(30, 300, 1.5)
    now[0] = 110.0
    application = traffic.statistics()["CherryPy Applications"]

    assert (application["Total Requests"], application["Total Bytes Read"], application["Total Bytes Written"], application["Total Time"]) == (2, 40, 400, 2.0)
    assert (application["Bytes Read/Request"], application["Bytes Written/Second"], application["Requests/Second"]) == (20.0, 40.0, 0.2)
    assert (application["Uptime"], application["Server Version"], application["Start Time"]) == (10.0, "1.0", 100.0)


def test_the_server_is_shown_under_its_old_and_its_new_name() -> None:
    traffic = Traffic("1.0")
    traffic.watch(Pool())
    traffic.served(10, 100, 0.5)
    stats = traffic.statistics()

    old, new = stats["CherryPy HTTPServer 1"], stats["Cheroot HTTPServer 1"]
    assert list(old) == list(new)
    assert all(old[name] == (value if isinstance(value, dict) else int(value)) for name, value in new.items())
    assert {type(value) for value in old.values()} == {bool, int, dict}
    assert {name: stats["Cheroot HTTPServer 1"][name] for name in ("Threads", "Threads Idle", "Queue", "Bytes Read", "Read Throughput")} == {
        "Threads": 8,
        "Threads Idle": 5,
        "Queue": 2,
        "Bytes Read": 10,
        "Read Throughput": 20.0,
    }
    assert stats["CherryPy Applications"]["Current Requests"] == 3
