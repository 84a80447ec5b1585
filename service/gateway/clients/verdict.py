"""The verdict on one return: whether it stands for a success, and if not, why. Salt's own word is wrong about some."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from service.clients import Kind

Reason = Literal["bad_arguments", "busy", "exception", "exit_code", "render_error", "state_failed", "timed_out_on_minion", "unknown_function"]

# What cmd.run and its relatives return when they have killed their command; `retcode` is 0 then. Source: salt/utils/timed_subprocess.py.
_TIMED_OUT = re.compile(r": Timed out after [0-9.]+ seconds\Z", re.ASCII)
_TIMED_OUT_CHARACTERS = 64
# What a minion or the master returns in place of a function's value. Source: salt/minion.py, _thread_return; salt/client/mixins.py, low.
_RAISED = ("The minion function caused an exception", "ERROR: ", "ERROR executing '", "Exception occurred in ", "Traceback (most recent call last):")
_BAD_ARGUMENTS = ("Passed invalid arguments to ", "\nPassed invalid arguments: ")
_NO_FUNCTION = ("' is not available.", "' __virtual__ returned False")


def why_failed(fun: object, event: Mapping[str, Any], value: object, kind: Kind = "local") -> Reason | None:
    """
    Say why a return stands for a failure, None if it stands for a success.

    fun: of the job. event: its fields. value: its `return`; may be None where `judges_value` is false.
    Of several functions the first that failed says why, and of several hosts of salt-ssh; where it found none, that is a failure.
    """
    if kind == "ssh" and isinstance(value, dict):
        return next(filter(None, (why_host_failed(fun, ret) for ret in value.values())), None) if value else "exit_code"
    if not isinstance(fun, list):
        return _why_one(str(fun or ""), value, kind, told=_says_failed(event.get("success"), event.get("retcode")))
    parts = ((name, *(_part(of, index, name) for of in (value, event.get("success"), event.get("retcode")))) for index, name in enumerate(fun))
    reasons = (_why_one(str(name), part, kind, told=_says_failed(success, code)) for name, part, success, code in parts)
    return next(filter(None, reasons), None)


def why_host_failed(fun: object, ret: object) -> Reason | None:
    """
    Say why what salt-ssh has of one host stands for a failure, None if it stands for a success.

    What the function returned stands in `return`; without that it did not run, or a wrapper on the master says how it failed.
    Source: salt/client/ssh/__init__.py, SSH.handle_routine; salt/client/ssh/wrapper/__init__.py, to_ret.
    """
    if isinstance(ret, dict) and "return" in ret:
        return why_failed(fun, ret, ret["return"])
    return why_failed(fun, {"success": False}, ret)


def judges_value(fun: object) -> bool:
    """
    Say whether the verdict on a function, or on one of several, needs what it returned, and not only `success` and `retcode`.

    One of somebody's own that hands on what states returned is judged without it where this decides.
    """
    return fun.startswith(("state.", "cmd.")) if isinstance(fun, str) else any(map(judges_value, fun if isinstance(fun, list) else ()))


def runs_states(fun: object) -> bool:
    """Say whether a function, or one of several, runs states."""
    return fun.removeprefix("runner.").startswith("state.") if isinstance(fun, str) else any(map(runs_states, fun if isinstance(fun, list) else ()))


def chunks_of(value: object, depth: int = 2) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what looks like a state's return, and its key; `fun: [state.apply, ...]` and orchestrations have them deeper."""
    for key, chunk in value.items() if isinstance(value, dict) else ():
        if isinstance(chunk, dict) and "result" in chunk and ("changes" in chunk or "__run_num__" in chunk):
            yield str(key), chunk
        elif depth > 1:
            yield from chunks_of(chunk, depth - 1)


def _part(value: object, index: int, name: object) -> object:
    """Return what belongs to one of several functions: by its name, by its place, or the same for all."""
    if isinstance(value, dict):
        return value.get(name) if isinstance(name, str) else None
    if isinstance(value, list):
        return value[index] if index < len(value) else None
    return value


def _says_failed(success: object, retcode: object) -> bool:
    if success is True and retcode == 0:
        return False
    return any(part is False for part in _each(success)) or any(_each(retcode))


def _each(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else (value,)


def _why_one(fun: str, value: object, kind: Kind, *, told: bool) -> Reason | None:
    """Judge what one function returned. told: the return itself says that it failed."""
    if told:
        return _reason_of(fun, value)
    if fun.startswith("cmd."):
        return _why_command(value)
    if kind != "local" and isinstance(value, str) and value.startswith(_BAD_ARGUMENTS):
        return "bad_arguments"
    return "state_failed" if _has_failed_state(fun, value) else None


def _why_command(value: object) -> Reason | None:
    output = value.get("stdout") if isinstance(value, dict) else value
    if isinstance(output, str) and _TIMED_OUT.search(output[-_TIMED_OUT_CHARACTERS:]):
        return "timed_out_on_minion"
    return "exit_code" if isinstance(value, dict) and value.get("retcode") else None


def _has_failed_state(fun: str, value: object) -> bool:
    # Only states' returns have such names; a function of somebody's own may hand one on.
    if not isinstance(value, dict) or not (runs_states(fun) or "_|-" in str(next(iter(value), ""))):
        return False
    return any(chunk["result"] is not None and not chunk["result"] for _, chunk in chunks_of(value, 3))


def _reason_of(fun: str, value: object) -> Reason:
    """Say why a return failed that says it did."""
    if isinstance(value, str):
        return _reason_in(fun, value)
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        # State functions return a list of errors in place of states. Source: salt/modules/state.py.
        return "busy" if '" is running as PID ' in value[0] else "render_error" if runs_states(fun) else "exit_code"
    orchestrated = isinstance(value, dict) and value.get("outputter") == "highstate"
    return "state_failed" if orchestrated or _has_failed_state(fun, value) else "exit_code"


def _reason_in(fun: str, text: str) -> Reason:
    if text.startswith("'") and any(end in text for end in _NO_FUNCTION) and text[1:].startswith(fun.partition(".")[0]):
        return "unknown_function"
    if text.startswith(_BAD_ARGUMENTS):
        return "bad_arguments"
    return "exception" if text.startswith(_RAISED) else "exit_code"
