"""The client ssh: what goes to the master, and what becomes of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from service.errors import JobTimeout, MasterRefused, Unauthenticated
from service.gateway.clients.publish import UnclearRefusal
from service.gateway.clients.result import LowResult
from service.gateway.clients.runner_wheel import MasterFunctions
from service.gateway.clients.signatures import Signatures
from service.gateway.clients.ssh import SIGNATURE, SshCalls
from service.gateway.clients.verdict import why_failed
from service.gateway.gateway import Runner
from tests.unit.gateway.clients.world import JID, TOKEN, NoLedger, World, low, options_with

OK = {"fun": "test.ping", "fun_args": [], "id": "edge-1", "jid": JID, "retcode": 0, "return": True, "success": True}
AWAY = {"stdout": "", "stderr": "ssh: connect to host 127.0.0.1 port 1: Connection refused", "retcode": 255, "_error": "x", "parsed": None}
OLD_AWAY = {"stdout": "", "stderr": "ssh: connect to host 127.0.0.1 port 1: Connection refused", "retcode": 255}
FAILED_STATE = {"cmd_|-x_|-false_|-run": {"result": False, "changes": {}, "__run_num__": 0}}


@pytest.fixture
def world() -> World:
    made = World()
    made.replies = [{"tag": f"salt/run/{JID}", "jid": JID}]
    return made


def calls(world: World, **options: Any) -> SshCalls:
    ours = options_with(**options)
    signatures = Signatures(dict, {"ssh.cmd": SIGNATURE})
    functions = MasterFunctions(
        world, world.hub, ours, runners=signatures, wheels=signatures, new_jid=lambda: JID, master_up=lambda: True, monotonic=world.monotonic
    )
    return SshCalls(functions, ours)


def answered(world: World, value: object, **fields: Any) -> LowResult:
    """Run a low for ssh that the master answers with a value."""
    world.fires(0.0, f"salt/run/{JID}/ret", {"jid": JID, "fun": "runner.ssh.cmd", "return": value, "success": True})
    return calls(world).run(low("ssh", **fields), world.request())


def sent(world: World) -> Mapping[str, Any]:
    (load,) = world.loads
    return load


def test_only_the_targets_hosts_the_function_and_its_arguments_go_to_the_runner(world: World) -> None:
    answered(
        world, {"edge-1": OK}, tgt="edge-1", arg=["a"], kwarg={"b": 1}, timeout=7, full_return=True, batch="1", metadata={"x": 1}, anything="else", user="root"
    )

    asked = {"tgt": "edge-[1]", "tgt_type": "glob", "fun": "test.ping", "arg": ["a"], "kwarg": {"b": 1}, "timeout": 7}
    assert sent(world) == {"cmd": "runner", "fun": "ssh.cmd", "token": TOKEN, "kwarg": {"arg": [], "kwarg": asked}}


def test_an_argument_is_a_text_that_salt_call_reads_as_the_same(world: World) -> None:
    keywords = {"__kwarg__": True, "test": True}
    answered(world, {"edge-1": OK}, arg=["a b", 5, True, None, [1, "ä"], {"a": None}, keywords])

    assert sent(world)["kwarg"]["kwarg"]["arg"] == ["a b", "5", "true", "null", '[1, "ä"]', '{"a": null}', keywords]


def test_what_was_not_asked_for_is_not_sent(world: World) -> None:
    answered(world, {"edge-1": OK}, tgt="*")

    assert sent(world)["kwarg"]["kwarg"] == {"tgt": "*", "tgt_type": "glob", "fun": "test.ping", "arg": []}


def test_the_answer_is_by_host(world: World) -> None:
    result = answered(world, {"edge-1": OK, "edge-2": AWAY})

    assert result.value == {"edge-1": OK, "edge-2": AWAY}
    assert (result.outcome, result.jid, result.expected, result.returned, result.failed, result.reasons) == ("failed", JID, 2, 2, 1, {"exit_code": 1})


def test_no_host_is_no_match(world: World) -> None:
    result = answered(world, {})

    assert (result.value, result.outcome) == ({}, "no_match")


@pytest.mark.parametrize(
    ("fun", "ret", "reason"),
    [
        ("test.ping", OK, None),
        ("grains.items", {"return": {"os": "Debian"}}, None),
        ("test.ping", AWAY, "exit_code"),
        ("test.ping", OLD_AWAY, "exit_code"),
        ("test.ping", {**AWAY, "_error": "Permission denied"}, "exit_code"),
        ("test.ping", "Target 'edge-1' did not return any data, probably due to an error.", "exit_code"),
        ("cmd.run", {**OK, "return": "no", "retcode": 3}, "exit_code"),
        ("state.apply", {**OK, "return": FAILED_STATE, "retcode": 2}, "state_failed"),
        ("state.apply", {"return": FAILED_STATE}, "state_failed"),
        ("state.apply", ["Rendering SLS 'base:x' failed"], "render_error"),
        ("nope.nope", {**OK, "return": "'nope.nope' is not available.", "retcode": 254}, "unknown_function"),
    ],
)
def test_a_host_that_failed_says_why(world: World, fun: str, ret: object, reason: str | None) -> None:
    result = answered(world, {"edge-1": ret}, fun=fun)

    assert result.reasons == ({reason: 1} if reason else {})
    assert result.outcome == ("failed" if reason else "ok")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "Exception occurred in runner ssh.cmd: Traceback (most recent call last):\n  File x\nsalt.exceptions.SaltSystemExit: No ssh binary found\n",
            "SaltSystemExit: No ssh binary found",
        ),
        ("\nPassed invalid arguments: 'x' and 'y'\n\nUsage:\n\n    Execute", "Passed invalid arguments: 'x' and 'y'"),
        ("VALUE_TRIMMED", "longer than the master's max_event_size"),
        (None, "None"),
        ("", "nothing was said"),
        (["x"], "x"),
        ("x" * 10_000, "x" * 300),
    ],
)
def test_a_failure_of_salt_ssh_itself_is_a_fault_with_the_jid(world: World, value: object, said: str) -> None:
    with pytest.raises(MasterRefused, match="salt-ssh failed at the master: ") as caught:
        answered(world, value)

    assert said in caught.value.reason
    assert len(caught.value.reason) < 400
    assert caught.value.details == {"jid": JID}


def test_a_secret_in_the_failure_is_masked(world: World) -> None:
    with pytest.raises(MasterRefused) as caught:
        answered(world, "Traceback\nOSError: ssh_passwd: CANARY")

    assert "CANARY" not in caught.value.reason


def test_a_wait_that_is_too_long_says_the_jid(world: World) -> None:
    with pytest.raises(JobTimeout, match=JID) as caught:
        calls(world, rest_timeout=3).run(low("ssh"), world.request(deadline=3.0))

    assert caught.value.details == {"jid": JID}


def test_a_missing_right_is_a_refusal(world: World) -> None:
    world.replies = [{"error": {"name": "EauthAuthenticationError", "message": 'Authentication failure of type "eauth" occurred for user x.'}}]

    with pytest.raises(UnclearRefusal):
        calls(world).run(low("ssh"), world.request())


def test_it_is_started_without_waiting(world: World) -> None:
    result = calls(world).start(low("ssh", tgt="edge-1"), world.request())

    assert result.value == {"tag": f"salt/run/{JID}", "jid": JID}
    assert sent(world)["kwarg"]["kwarg"]["tgt"] == "edge-[1]"


def test_a_revoked_token_starts_nothing(world: World) -> None:
    ours = Runner(world, world.hub, options_with(), NoLedger(), master_up=lambda: True)
    ours.tokens.owe(TOKEN, 4e9, lambda _how: None)

    with pytest.raises(Unauthenticated):
        ours.start_ssh(low("ssh"), world.request())

    assert world.loads == []


def test_a_job_over_ssh_is_judged_by_its_hosts() -> None:
    event = {"success": True}

    assert why_failed("test.ping", event, {"edge-1": OK}, "ssh") is None
    assert why_failed("test.ping", event, {"edge-1": OK, "edge-2": AWAY}, "ssh") == "exit_code"
    assert why_failed("test.ping", event, {}, "ssh") == "exit_code"
    assert why_failed("test.ping", {"success": False}, "Exception occurred in runner ssh.cmd: x", "ssh") == "exception"
