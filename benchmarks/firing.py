"""Fires numbered and dated events on the master's bus at an even rate; a process of its own."""

from __future__ import annotations

import argparse
import time
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Salt's imports warn of their own doings.
    import salt.config
    import salt.utils.event

TAG = "bench/small"
LARGE_TAG = "bench/large"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.firing", description=__doc__)
    parser.add_argument("master_config")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="events a second")
    parser.add_argument("--large-bytes", type=int, default=0, help="fire as many more events of this size")
    return parser.parse_args()


def fire(chosen: argparse.Namespace) -> None:
    opts = salt.config.client_config(chosen.master_config)
    event = salt.utils.event.get_event("master", sock_dir=opts["sock_dir"], opts=opts, listen=False)
    started = time.monotonic()
    for number in range(chosen.count):
        time.sleep(max(0.0, started + number / chosen.rate - time.monotonic()))
        event.fire_event({"mark": f"bench-{number}-{time.time():.6f}"}, TAG)
        if chosen.large_bytes:
            event.fire_event({"load": "x" * chosen.large_bytes}, LARGE_TAG)


if __name__ == "__main__":
    fire(arguments())
