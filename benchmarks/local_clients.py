"""Callers by Salt's own client, a process of its own: each makes one for its call, as salt-api does for each request."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Salt's imports warn of their own doings.
    import salt.client
    import salt.config
    import salt.exceptions


def call(master_config: str, low: Mapping[str, Any]) -> list[str]:
    """Run a low; return who answered, nobody if the master did not take it in time."""
    fields = {name: value for name, value in low.items() if name != "client"}
    with salt.client.LocalClient(mopts=salt.config.client_config(master_config)) as client:
        try:
            return sorted(client.cmd(**fields))
        except salt.exceptions.SaltClientError:
            return []


def main() -> None:
    """Read `{"master_config": ..., "callers": ..., "low": ...}` from standard input; print who answered each caller."""
    given = json.load(sys.stdin)
    with ThreadPoolExecutor(given["callers"]) as threads:
        calls = [threads.submit(call, given["master_config"], given["low"]) for _ in range(given["callers"])]
        print(json.dumps({"answers": [one.result() for one in calls], "beside": {}}))


if __name__ == "__main__":
    main()
