"""The library pepper as a program would use it; takes its configuration as JSON, answers with JSON. Runs in an environment without Salt."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import pepper


def main(config: dict[str, Any]) -> dict[str, Any]:
    url, credentials = config["url"], config["credentials"]
    api = pepper.Pepper(url)
    answers: dict[str, Any] = {"login": api.login(**credentials)}
    answers["local"] = api.local("minion-1,minion-2", "test.ping", expr_form="list")
    answers["local_batch"] = api.local_batch("*", "test.ping", batch="1")
    answers["local_async"] = api.local_async("*", "test.ping")
    answers["lookup_jid"] = looked_up(api, answers["local_async"]["return"][0]["jid"])
    answers["runner"] = api.runner("test.arg", arg=["a"])
    answers["wheel"] = api.wheel("key.finger", match="minion-1")
    answers["minions"] = api.req_get("/minions")
    answers["keys"] = api.req_get("/keys")
    answers["stream"] = streamed(api)
    answers["run"] = run(url, credentials)
    answers["logout"] = api.req("/logout", {})
    try:
        api.local("*", "test.ping")
    except pepper.PepperException as exc:
        answers["after"] = str(exc)
    return answers


def run(url: str, credentials: dict[str, str]) -> Any:
    """Use /run with a token of /token."""
    api = pepper.Pepper(url)
    token = api.token(**credentials)["token"]
    return api.low([{"client": "local", "tgt": "*", "fun": "test.ping", "token": token}], path="/run")


def looked_up(api: Any, jid: str) -> Any:
    """Ask for a job until both minions have answered."""
    found: Any = {}
    for _ in range(1000):
        (found,) = api.lookup_jid(jid)["return"]
        if len(found) == 2:
            break
    return found


def streamed(api: Any) -> dict[str, Any]:
    """Open the stream, start a job, return the stream's first line and the event of its return."""
    with contextlib.closing(api.req_stream("/events")) as stream:
        lines = stream.iter_lines()
        first = next(lines).decode()
        jid = api.local_async("minion-1", "test.ping")["return"][0]["jid"]
        wanted = f"tag: salt/job/{jid}/ret/"
        tag = next(line.decode() for line in lines if line.decode().startswith(wanted))
        return {"first": first, "tag": tag, "wanted": wanted, "data": json.loads(next(lines).decode().removeprefix("data: "))}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
