"""The client ssh, off and on: whatever a low for it carries, nothing of ssh is started here, and the master's runner hears a target, a function and its arguments."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.demo.embedded import PATIENCE_SECONDS, until
from tests.contract.conftest import Api, a_store, fake_api, login
from tests.declared.code import nodes
from tests.fakes import FakeGateway
from tests.probes.ssh_lows import SHAPES, SSH, UNKNOWN


@pytest.fixture(scope="module")
def off(tmp_path_factory: pytest.TempPathFactory) -> Api:
    return fake_api(tmp_path_factory.mktemp("off"), SIDECAR_CLIENTS_SSH="false")


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("on")
    api = fake_api(folder, **a_store(folder))
    yield api
    api.process.stop()


def runs(api: Api) -> list[dict[str, Any]]:
    """Return what the master was asked to run."""
    assert isinstance(api.process.gateway, FakeGateway)
    return [load for load in api.process.gateway.master.loads if load["cmd"] in {"publish", "runner", "wheel"}]


def statuses(api: Api, low: dict[str, Any]) -> set[int]:
    """Return what a low is answered with wherever it can be sent, as anybody and as who may do everything."""
    session = login(api, api.demo)
    return {
        api.caller.post(low).status,
        api.caller.post(low, "/run").status,
        api.caller.post({**api.demo, **low}).status,
        api.caller.post({**api.demo, **low}, "/run").status,
        api.caller.post([low], x_auth_token=session).status,
        api.caller.post([{**SSH, "client": "local_async"}, low], x_auth_token=session).status,
    }


@pytest.mark.parametrize("shape", [*SHAPES, *UNKNOWN, "bare"])
def test_a_low_for_ssh_is_refused_to_everybody_where_it_is_off(off: Api, shape: str) -> None:
    assert statuses(off, {**SSH, **{**SHAPES, **UNKNOWN}.get(shape, {})}) <= {400, 401}
    assert runs(off) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_where_it_is_on_what_could_tell_ssh_more_is_refused_before_the_master_hears_of_it(on: Api, shape: str) -> None:
    before = len(runs(on))

    assert statuses(on, {**SSH, **SHAPES[shape]}) <= {400, 401}
    assert len(runs(on)) == before


@pytest.mark.parametrize("shape", UNKNOWN)
def test_where_it_is_on_a_word_for_credentials_gets_nobody_in(on: Api, shape: str) -> None:
    answer = on.caller.post({**SSH, **UNKNOWN[shape]})

    assert answer.status in {401, 429}


def test_the_refusal_says_which_field_and_why(on: Api) -> None:
    answer = on.run(**SSH, roster_file="/tmp/roster").json()

    assert answer["return"] == "400: roster_file is refused: the roster, keys and options of ssh are the master's own"
    assert answer["field"] == "roster_file"


def test_hosts_answer_and_one_that_is_away_says_so(on: Api) -> None:
    value = on.value(**{**SSH, "tgt": "edge-*", "fun": "test.echo", "arg": ["x"]})

    assert {host: ret["return"] for host, ret in value.items() if "return" in ret} == {"edge-1": "x", "edge-2": "x"}
    assert value["edge-3"]["stderr"].startswith("ssh: connect to host")


@pytest.mark.parametrize(
    ("target", "hosts"),
    [
        ({"tgt": "edge-1"}, ["edge-1"]),
        ({"tgt": "edge-[12]"}, ["edge-1", "edge-2"]),
        ({"tgt": "edge-1,edge-2,nobody", "tgt_type": "list"}, ["edge-1", "edge-2"]),
        ({"tgt": ["edge-2"], "expr_form": "list"}, ["edge-2"]),
        ({"tgt": "edge-(1|2)", "tgt_type": "pcre"}, ["edge-1", "edge-2"]),
        ({"tgt": "nobody"}, []),
        ({"tgt": "localhost"}, []),
    ],
)
def test_each_kind_of_target_hits_hosts_of_the_roster(on: Api, target: dict[str, Any], hosts: list[str]) -> None:
    answer = on.run(client="ssh", fun="test.ping", **target)

    assert answer.status == 200
    assert sorted(answer.json()["return"][0]) == hosts


def test_who_has_no_right_to_the_runner_is_refused(on: Api) -> None:
    assert on.caller.post({**on.pinger, **SSH}).status in {401, 429}


def test_a_policy_judges_hosts_and_function(tmp_path: Path) -> None:
    rules = '[{"action": "allow", "clients": ["ssh"], "functions": ["test.*"], "targets": ["edge-1"]}, {"action": "refuse", "clients": ["ssh"]}]'
    api = fake_api(tmp_path, SIDECAR_POLICY_RULES=rules)

    assert api.run(**{**SSH, "tgt": "edge-1"}).status == 200
    assert api.run(**{**SSH, "tgt": "edge-2"}).status == 401
    assert api.run(**{**SSH, "tgt": "edge-1", "tgt_type": "pcre"}).status == 401
    assert api.run(**{**SSH, "tgt": "edge-1", "fun": "grains.items"}).status == 401
    assert len(runs(api)) == 1


def test_it_is_counted_and_logged_as_what_it_is(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    api.run(**SSH)
    api.run(**{**SSH, "tgt": "nobody"})
    value = api.process.metrics.value

    assert value("salt_api_client_requests_total", client="ssh", outcome="failed") == 1
    assert value("salt_api_client_requests_total", client="ssh", outcome="no_match") == 1


def job(api: Api, **body: Any) -> dict[str, Any]:
    """Submit a job of `/v1`, and return it when it is over."""
    token = login(api, api.demo)
    made = api.caller.post({"client": "ssh", "fun": "test.ping", **body}, "/v1/jobs", x_auth_token=token)
    assert made.status in {200, 202}, made.body
    for _ in until(PATIENCE_SECONDS):
        found: dict[str, Any] = api.caller.get(f"/v1/jobs/{made.json()['jid']}", x_auth_token=token).json()
        if found["status"] not in {"publishing", "running"}:
            return found
        time.sleep(0.01)
    raise AssertionError(found)


@pytest.mark.parametrize(("tgt", "status"), [("edge-1", "succeeded"), ("edge-*", "failed"), ("nobody", "failed")])
def test_a_job_of_v1_comes_to_what_its_hosts_come_to(on: Api, tgt: str, status: str) -> None:
    found = job(on, tgt=tgt)

    assert (found["status"], found["client"]) == (status, "ssh")
    assert runs(on)[-1]["fun"] == "ssh.cmd"


def test_a_job_of_v1_is_checked_as_a_low_is(on: Api) -> None:
    token, before = login(on, on.demo), len(runs(on))
    wrong: list[dict[str, Any]] = [
        {"tgt": "root@x"},
        {"tgt": "*", "fun": "cp.get_url"},
        {"tgt": "*", "ssh_priv": "x"},
        {"tgt": "*", "tgt_type": "compound"},
        {},
    ]
    answers = [on.caller.post({"client": "ssh", "fun": "test.ping", **body}, "/v1/jobs", x_auth_token=token).status for body in wrong]

    assert set(answers) <= {400, 422}
    assert len(runs(on)) == before


@pytest.mark.costly
def test_what_serves_callers_starts_no_program_and_has_none_of_salts_clients() -> None:
    """The demo and the commands that people type start programs; nothing that serves does."""
    imported = {
        (file, name)
        for file, found in nodes().items()
        for node in found
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    served = {name for file, name in imported if not file.startswith(("service/demo/", "service/cli/"))}

    assert {name for name in served if name.startswith(("subprocess", "salt.client", "salt.netapi", "salt.utils.thin", "salt.roster"))} == set()
