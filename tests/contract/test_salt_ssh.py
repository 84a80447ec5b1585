"""Salt's ssh client is not here: whatever a low for it carries, and whoever sends it, the master hears nothing and no program is started."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from tests.contract.conftest import Api, fake_api
from tests.declared.code import nodes
from tests.fakes import FakeGateway

SSH: dict[str, Any] = {"client": "ssh", "tgt": "*", "fun": "test.ping"}
SHAPES: dict[str, dict[str, Any]] = {
    "bare": {},
    "a function of the shell's": {"fun": "cmd.run", "arg": ["id"]},
    "options": {"ssh_options": ["ProxyCommand=id"]},
    "an option in an argument": {"arg": ["-o ProxyCommand=id"]},
    "a key's file": {"ssh_priv": "/dev/null|id"},
    "a user and a port": {"ssh_user": "root;id", "ssh_port": "22;id"},
    "a roster": {"roster": "cache", "roster_file": "/dev/null"},
    "a raw shell": {"raw_shell": True, "arg": ["id"]},
    "what thin takes with it": {"extra_mods": "x';id;'", "python2_bin": "id", "python3_bin": "id"},
    "a word for a backend": {"eauth": "x"},
    "a word for a token": {"token": "x"},
    "a token that is none": {"token": "0" * 64},
    "a list of functions": {"fun": ["test.ping", "cmd.run"], "arg": [[], ["id"]]},
    "other letters": {"client": "SSH"},
    "white space": {"client": "ssh "},
    "a list": {"client": ["ssh"]},
    "the method of Salt's": {"client": "ssh_sync"},
    "a name with an underscore": {"client": "_ssh"},
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Api:
    return fake_api(tmp_path_factory.mktemp("ssh"))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_low_for_ssh_is_refused_to_everybody(api: Api, shape: str) -> None:
    low = {**SSH, **SHAPES[shape]}
    session = api.caller.post(api.demo, "/login").headers["x-auth-token"]
    statuses = {
        api.caller.post(low).status,
        api.caller.post(low, "/run").status,
        api.caller.post({**api.demo, **low}).status,
        api.caller.post({**api.demo, **low}, "/run").status,
        api.caller.post([low], x_auth_token=session).status,
        api.caller.post([{**SSH, "client": "local_async"}, low], x_auth_token=session).status,
    }

    assert statuses <= {400, 401}
    assert isinstance(api.process.gateway, FakeGateway)
    assert api.process.gateway.master.published == {}


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
