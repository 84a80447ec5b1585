"""The program of pipelines, without a server: what it writes where minions choose the text, what it asks for, and under which key."""

from __future__ import annotations

import ast
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ci.arguments import STATE_FUNCTIONS, parsed, request_of
from service.ci.live_states import MOST_WELL_STATES
from service.ci.pipeline_keys import PipelineKeys, cause_of
from service.ci.pipeline_log import harmless, log_of
from service.ci.remote import Remote
from service.ci.telling import Telling, cell, lines_of
from service.jobs.job_request import TELLING_FUNCTIONS, parse

GITHUB = {
    "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY_ID": "42", "GITHUB_RUN_ID": "7", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "deploy", "RUNNER_NAME": "r 1",
    "GITHUB_SERVER_URL": "https://github.example.org", "GITHUB_REPOSITORY": "a/b",
}  # fmt: skip
GITLAB = {"GITLAB_CI": "true", "CI_PROJECT_ID": "3", "CI_JOB_ID": "99", "CI_JOB_URL": "https://gitlab.example.org/j/99"}
FOLDERS = {"gh": "RUNNER_TEMP", "gl": "CI_PROJECT_DIR"}
# What runners of pipelines take for a command: at a line's beginning, spaces or not, and anywhere.
COMMAND = re.compile(r"^\s*::|##\w*\[")
PIECES = st.lists(
    st.sampled_from(["::", ":", "#", "##[", "##vso[", "error", " ", "\t", "\r", "\n", "\x1b[0K", "\u2028", "\u202e", "section_start:1:x"]) | st.text(max_size=3)
)


@given(text=PIECES.map("".join))
def test_no_line_of_a_minion_is_a_command_or_more_than_a_line(text: str) -> None:
    line = harmless(text)

    assert not COMMAND.search(line)
    assert len(line.splitlines() or [""]) == 1
    assert not re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202e]", line)


@given(text=PIECES.map("".join))
def test_a_return_of_any_text_holds_no_command(text: str) -> None:
    state = {"result": False, "changes": {text: text}, "comment": text, "name": text, "__id__": text, "__run_num__": 0}

    for lines in (lines_of(text), lines_of({"a": text}), lines_of({"x_|-a": state})):
        assert not [line for line in lines if COMMAND.search(line) or "\x1b" in line or len(line.splitlines()) > 1]


def test_what_is_no_command_is_written_as_it_is() -> None:
    text = "listen on [::1]:80 # a ## b: C:\\x \u00fc"

    assert harmless(text) == text


def test_states_are_a_line_each_in_their_order() -> None:
    returned = {
        "b": {"result": False, "changes": {}, "comment": "no\nsuch file", "name": "/b", "__id__": "b", "__run_num__": 10, "duration": 12.0},
        "a": {"result": True, "changes": {"x": 1}, "comment": "made", "name": "/a", "__id__": "a", "__run_num__": 9, "duration": 1500},
        "c": {"result": True, "changes": {}, "comment": "is as it was", "name": "/c", "__id__": "c", "__run_num__": 11},
        "d": {"result": None, "changes": {}, "comment": "would be made", "name": "/d", "__id__": "d", "__run_num__": 12},
    }

    assert lines_of(returned) == [
        "  changed  a: /a (1.5 s)", "           | made",
        "   FAILED  b: /b (0.0 s)", "           | no", "           | such file",
        "       ok  c: /c",
        "  would change  d: /d", "           | would be made",
    ]  # fmt: skip


@pytest.mark.parametrize("returned", [None, True, 3, [], {}, "", ["a"], {"a": {"result": 1}, "b": 2}])
def test_any_return_has_lines(returned: Any) -> None:
    assert all(line.startswith("  | ") for line in lines_of(returned))


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (["run", "web*", "test.ping"], {"tgt": "web*", "fun": "test.ping", "deadline": 3600}),
        (["run", "a,b", "-L", "cmd.run", "ls -l", "cwd=/tmp", "python_shell=True"],
         {"tgt": ["a", "b"], "tgt_type": "list", "fun": "cmd.run", "arg": ["ls -l"], "kwarg": {"cwd": "/tmp", "python_shell": True}}),
        (["run", "*", "test.arg", "1", "true", "a=b=c", "[1]"], {"arg": [1, True, [1]], "kwarg": {"a": "b=c"}}),
        (["apply", "*"], {"fun": "state.apply"}),
        (["apply", "*", "app", "db", "--dry-run", "--fail-on", "all"], {"arg": ["app,db"], "dry_run": True, "fail_on": "all"}),
        (["run", "*", "test.ping", "--min-success", "90%", "--missing", "ignore", "--timeout", "5", "--deadline", "60", "--fail-on-false"],
         {"min_success": "90%", "missing": "ignore", "timeout": 5, "deadline": 60.0, "fail_on_false": True}),
        (["run", "-", "jobs.active", "--client", "runner"], {"client": "runner", "fun": "jobs.active"}),
    ],
)  # fmt: skip
def test_a_command_line_is_a_request_that_the_server_takes(line: list[str], request_: dict[str, Any]) -> None:
    made = request_of(parsed(line), "https://ci.example.org/1")

    assert {name: made.get(name) for name in request_} == request_
    assert parse(made).cause_url == "https://ci.example.org/1"


@pytest.mark.parametrize(
    "line", [[], ["run"], ["nothing"], ["follow"], ["run", "*", "test.ping", "--fail-on", "some"], ["relaunch", "1", "--failed", "--missing"]]
)
def test_wrong_use_is_told_from_a_failed_job(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="64"):
        parsed(line)

    assert capsys.readouterr().err.startswith("salt-ci")


@pytest.mark.parametrize(("environ", "kind"), [(GITHUB, "gh"), (GITLAB, "gl")])
def test_a_step_that_did_not_learn_its_end_has_the_same_key_again(tmp_path: Path, environ: dict[str, str], kind: str) -> None:
    calls = PipelineKeys({**environ, FOLDERS[kind]: str(tmp_path)})
    ping, echo = {"fun": "test.ping"}, {"fun": "test.echo"}
    first = calls.key("/v1/jobs", ping)

    assert first == PipelineKeys({**environ, FOLDERS[kind]: str(tmp_path)}).key("/v1/jobs", ping)
    assert re.fullmatch(rf"{kind}-[!-~]{{1,250}}-1", first)
    calls.over("/v1/jobs", ping)
    assert calls.key("/v1/jobs", ping) == f"{first[:-1]}2"
    assert calls.key("/v1/jobs", echo).endswith("-1")
    (kept,) = tmp_path.iterdir()
    kept.write_text("{")
    assert calls.key("/v1/jobs", ping) == first


def test_another_attempt_another_leg_and_no_pipeline_have_keys_of_their_own() -> None:
    request = {"fun": "test.ping"}
    keys = {
        PipelineKeys({**GITHUB, **other}).key("/v1/jobs", request)
        for other in ({}, {"GITHUB_RUN_ATTEMPT": "2"}, {"RUNNER_NAME": "r 2"}, {"GITHUB_JOB": "test"})
    }

    assert len(keys) == 4
    assert PipelineKeys({}).key("/v1/jobs", request) != PipelineKeys({}).key("/v1/jobs", request)


@pytest.mark.parametrize(
    ("environ", "url"),
    [(GITHUB, "https://github.example.org/a/b/actions/runs/7"), (GITLAB, GITLAB["CI_JOB_URL"]), ({"BUILD_URL": "https://j/1"}, "https://j/1"), ({}, None)],
)
def test_a_job_knows_the_pipeline_that_it_comes_from(environ: dict[str, str], url: str | None) -> None:
    assert cause_of(environ) == url


def test_each_platform_folds_hides_and_marks_in_its_own_way(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    texts = {}
    for name, environ in {"gh": {**GITHUB, "GITHUB_STEP_SUMMARY": str(summary)}, "gl": GITLAB, "": {}}.items():
        out = io.StringIO()
        log = log_of(environ, out)
        log.mask("SECRET")
        log.group("web1: ok", ["  one"])
        log.annotate("web1, x", "100% no")
        log.summarize(["| a |"])
        texts[name] = out.getvalue()

    assert texts["gh"] == "::add-mask::SECRET\n::group::web1: ok\n  one\n::endgroup::\n::error title=web1%2C x::100%25 no\n"
    assert summary.read_text() == "| a |\n"
    assert re.fullmatch(r"\x1b\[0Ksection_start:\d+:salt_1\[collapsed=true\]\r\x1b\[0Kweb1: ok\n  one\n\x1b\[0Ksection_end:\d+:salt_1\r\x1b\[0K\n", texts["gl"])
    assert texts[""] == "web1: ok\n  one\n"


@pytest.mark.costly
def test_what_happens_to_a_step_or_a_wave_is_not_told_as_the_jobs_own_end() -> None:
    out = io.StringIO()
    telling = Telling(Remote("http://localhost", {}, print, 0), log_of({}, out), "1" * 20)
    telling.happened({"seq": 1, "event": "step", "step": 0, "jid": "2" * 20, "status": "succeeded"})
    telling.happened({"seq": 2, "event": "wave", "wave": 1, "of": 3, "minions": 5})
    telling.happened({"seq": 3, "event": "wave", "wave": 2, "of": 3, "needs_owner": True})
    telling.happened({"seq": 4, "event": "status", "status": "failed", "cause": "stopped"})

    assert out.getvalue().splitlines() == [
        f"step 0, job {'2' * 20}: succeeded", "wave 1 of 3: 5 minions", "wave 2 of 3: waits for its owner", f"job {'1' * 20}: failed (stopped)",
    ]  # fmt: skip
    assert telling.after == 4


class Returned(Remote):
    """Has what a minion has returned."""

    def __init__(self, returned: Any) -> None:
        self._returned = returned

    def ask(self, *_args: Any, **_options: Any) -> Any:
        return {"return": self._returned}


def chunk(number: int, name: str, *, result: bool | None = True, **more: Any) -> dict[str, Any]:
    return {"__run_num__": number, "__id__": name, "name": name, "result": result, "changes": {}, "comment": "said", "duration": 100.0, **more}


RETURNED = {
    "a": chunk(0, "one"),
    "b": chunk(1, "two", changes={"x": 1}),
    "c": chunk(2, "three", result=False),
    "d": chunk(3, "four", changes={"pid": 1}),
    "e": chunk(4, "five"),
}


def live(minion: str, chunk: dict[str, Any], result: str, **more: Any) -> dict[str, Any]:
    """Return what is told of a state when it ends."""
    told = {"number": chunk["__run_num__"], "of": 4, "id": chunk["__id__"], "name": chunk["name"], "seconds": 0.1, "comment": "said"}
    return {"seq": 2, "event": "state", "minion": minion, "result": result, **told, **more}


def told_live(environ: dict[str, str], *minions: str, of: dict[str, Any] = RETURNED) -> list[str]:
    """Tell of a job of these minions, of which all but the last state are told of live; return the log."""
    out = io.StringIO()
    telling = Telling(Returned(of), log_of(environ, out), "1" * 20)
    telling.happened({"seq": 1, "event": "status", "status": "running", "expected": len(minions)})
    for state, result in zip(of.values(), ["unchanged", "changed", "failed", "started"], strict=False):
        for minion in minions:
            telling.happened(live(minion, state, result))
    for minion in minions:
        telling.happened({"seq": 3, "event": "minion", "minion": minion, "status": "failed", "reason": "state_failed"})
    telling.summary({"status": "failed", "exit_code": 1, "counts": {"failed": len(minions)}}, "https://x")
    return re.sub(r"\x1b\[0Ksection_(\w+):\d+:salt_\d+(\[collapsed=true\])?\r\x1b\[0K", r"\1\2 ", out.getvalue()).split("\n")[1:]


ONE_BY_ONE = [
    f"{minion}{line}"
    for line in ["       ok  one (0.1 s)", "  changed  two (0.1 s)", "   FAILED  three (0.1 s)", "  started  four (0.1 s)"]
    for minion in ("web1", "web2")
]
CHANGED, FAILED, LATE = (
    ["  changed  two (0.1 s)", "           | said"],
    ["   FAILED  three (0.1 s)", "           | said"],
    ["  changed  four (0.1 s)", "           | said"],
)
FIRST, LAST = "       ok  one (0.1 s)", "       ok  five (0.1 s)"
STARTED = ["  started  four (0.1 s)", "           | said"]


def test_the_states_of_several_minions_are_told_one_by_one_and_once_more_in_their_groups() -> None:
    whole = [FIRST, *CHANGED, *FAILED, *LATE, LAST]
    title = "web1: FAILED (state_failed)"

    assert told_live(GITHUB, "web1", "web2")[:8] == ONE_BY_ONE
    assert told_live(GITHUB, "web1", "web2")[8:19] == [f"::group::{title}", *whole, "::endgroup::", "::group::web2: FAILED (state_failed)"]
    assert told_live(GITLAB, "web1", "web2")[8:18] == [f"start[collapsed=true] {title}", *whole, "end "]
    # Where nothing can be folded, what was told and is well is not written again.
    assert told_live({}, "web1", "web2")[8:17] == [title, *CHANGED, *FAILED, *LATE, LAST, "web2: FAILED (state_failed)"]


@pytest.mark.parametrize(("environ", "begin", "end"), [(GITHUB, ["::group::web1"], ["::endgroup::"]), ({}, ["web1"], []), (GITLAB, ["start web1"], ["end "])])
def test_the_states_of_a_minion_alone_are_in_its_group_as_they_end(environ: dict[str, str], begin: list[str], end: list[str]) -> None:
    whole = [*begin, FIRST, *CHANGED, *FAILED, *STARTED, *LATE, LAST, *end, "web1: FAILED (state_failed)"]
    lines = told_live(environ, "web1")

    assert lines[: len(whole)] == whole
    assert lines[len(whole) : len(whole) + 3] == ["FAILED on web1", *FAILED]
    assert "           | said" not in lines[len(whole) + 3 :]


def test_a_group_is_closed_before_anything_else_is_written() -> None:
    out = io.StringIO()
    telling = Telling(Returned({}), log_of(GITHUB, out), "1" * 20)
    telling.happened({"seq": 1, "event": "status", "status": "running", "expected": 1})
    telling.happened(live("web1", RETURNED["a"], "unchanged"))
    telling.happened({"seq": 3, "event": "minion", "minion": "web1", "status": "running"})
    telling.happened({"seq": 4, "event": "minion", "minion": "web1", "status": "no_return"})

    assert out.getvalue().splitlines()[1:] == ["::group::web1", FIRST, "::endgroup::", "web1: no_return"]


def test_a_state_that_was_told_otherwise_than_it_has_ended_is_written_as_it_has() -> None:
    lie = {"a": chunk(0, "one", result=False)}

    assert told_live({}, "web1", "web2", of=lie)[2:5] == ["web1: FAILED (state_failed)", "   FAILED  one (0.1 s)", "           | said"]
    assert "   FAILED  one (0.1 s)" in told_live({}, "web1", of=lie)


def test_of_very_many_states_those_that_are_not_well_are_told() -> None:
    out = io.StringIO()
    telling = Telling(Returned({}), log_of({}, out), "1" * 20)
    for number in range(MOST_WELL_STATES + 5):
        telling.happened(live("web1", {**RETURNED["a"], "__run_num__": number}, "unchanged"))
    telling.happened(live("web1", RETURNED["c"], "failed"))

    lines = out.getvalue().splitlines()
    assert len(lines) == MOST_WELL_STATES + 2
    assert lines[-1] == "web1   FAILED  three (0.1 s)"


@pytest.mark.slow
@given(text=PIECES.map("".join), alone=st.booleans(), seconds=st.none() | st.floats() | st.text(max_size=2))
def test_no_state_that_is_told_live_is_a_command(text: str, alone: bool, seconds: object) -> None:
    out = io.StringIO()
    telling = Telling(Returned({}), log_of({}, out), "1" * 20)
    telling.happened({"seq": 1, "event": "status", "status": "running", "expected": 1 if alone else 2})
    telling.happened({**live(text, RETURNED["c"], "failed"), "id": text, "name": text, "comment": text, "seconds": seconds})

    written = out.getvalue()
    assert not [line for line in written.split("\n") if COMMAND.search(line) or "\x1b" in line or len(line.splitlines()) > 1]
    assert alone or written.count("\n") == 2


def test_minions_are_asked_to_tell_of_states_where_the_function_can_and_nobody_said_otherwise() -> None:
    assert {*STATE_FUNCTIONS} == TELLING_FUNCTIONS
    asked = [
        ["apply", "*"],
        ["run", "*", "state.sls", "app"],
        ["apply", "*", "--no-state-events"],
        ["run", "*", "state.sls", "app", "state_events=false"],
        ["run", "*", "test.ping"],
    ]

    assert [request_of(parsed(line), None).get("state_events", False) for line in asked] == [True, True, False, False, False]


@given(text=st.text(max_size=20))
def test_a_cell_of_a_table_is_text(text: str) -> None:
    assert not re.search(r"[|<>`\[\]\n\r*_]", cell(text))


def test_the_program_is_written_for_old_pythons() -> None:
    for path in (Path(__file__).parents[3] / "service" / "ci").glob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize("command", [[], ["run"], ["apply"], ["follow"], ["wait"], ["cancel"], ["relaunch"]])
def test_the_help_is_text_whose_examples_may_be_copied(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed([*command, "--help"])
    said = capsys.readouterr().out
    examples = re.findall(r"^  salt-ci (.*)$", said, re.MULTILINE)

    assert (ended.value.code, "%%" in said, len(examples)) == (0, False, 4)
    for example in examples:
        parsed(shlex.split(example))


def test_nothing_secret_is_an_option() -> None:
    options = json.dumps(vars(parsed(["run", "*", "test.ping"])))

    assert not re.search("token|password|secret", options)
