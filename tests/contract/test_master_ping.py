"""The ping by which compose.yaml and the chart know that a master is well, with every Salt that we support."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgpack
import pytest
import zmq

from service.demo.embedded import EmbeddedSalt

PING = Path(__file__).parents[2] / "config" / "compose" / "master-ping.py"


def ping(port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(PING), str(port)], check=False, capture_output=True, text=True, timeout=120)


@pytest.mark.master
def test_a_real_master_answers(salt_master: EmbeddedSalt) -> None:
    done = ping(salt_master.ret_port)

    assert (done.returncode, done.stderr) == (0, "")


def test_whoever_answers_something_else_is_no_master() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as other:
        port = other.bind_to_random_port("tcp://127.0.0.1")
        with subprocess.Popen([sys.executable, str(PING), str(port)], stderr=subprocess.PIPE, text=True) as asking:
            other.rcvtimeo = 60_000
            caller, empty, question = other.recv_multipart()
            other.send_multipart([caller, empty, msgpack.packb("bad load")])
            _, said = asking.communicate(timeout=60)

    assert msgpack.unpackb(question)["load"] == {"cmd": "ping"}
    assert asking.returncode == 1
    assert "no salt-master" in said
