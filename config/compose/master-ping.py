"""Ends well if the salt-master answers a ping, as it does to anybody: master-ping.py [PORT]; POD_IP is its address, if not loopback. Without Salt, whose import costs seconds."""

from __future__ import annotations

import os
import sys

import msgpack
import zmq

ANSWER_MILLISECONDS = 10_000
PING = {"cmd": "ping"}
# Of the protocol; Salt 3008 refuses what is below 3, and older ones do not look.
VERSION = 3


def main(port: str = "4506") -> None:
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.rcvtimeo = ANSWER_MILLISECONDS
        socket.connect(f"tcp://{os.environ.get('POD_IP', '127.0.0.1')}:{port}")
        socket.send(msgpack.packb({"enc": "clear", "load": PING, "version": VERSION}))
        try:
            answer = msgpack.unpackb(socket.recv())
        except zmq.Again:
            sys.exit(f"the master does not answer a ping at port {port}")
    if answer != PING:
        sys.exit(f"whoever has port {port} is no salt-master")


if __name__ == "__main__":
    main(*sys.argv[1:])
