"""What several gateway tests need: a bus thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.gateway.transport.bus_thread import BusThread


@pytest.fixture
def bus_thread() -> Iterator[BusThread]:
    thread = BusThread()
    thread.start()
    yield thread
    thread.stop()
