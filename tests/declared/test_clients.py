"""The table of clients is the only one: what is not in it is not served, and nothing else in the code or the shipped files has a list of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.clients import BY_DEFAULT, CLIENTS, Client
from service.errors import BadRequest, Forbidden
from service.gateway.clients.local import Request
from service.gateway.gateway import Runner
from service.gateway.low import parse_lowstate
from service.observe.metrics import domains
from tests.declared.code import ROOT, nodes, text_of
from tests.unit.gateway.clients.world import NoLedger, World, low, options_with

# They call clients, as a caller does.
CALLERS = {"service/cli/smoke.py", "service/demo/calls.py"}
EVERYWHERE = {"local", "runner", "wheel", "ssh"}  # words of Salt's for other things too


@pytest.mark.parametrize("client", ["destroy", "ssh_async", "local_cmd", "__init__"])
def test_a_client_that_is_not_in_the_table_is_not_served_even_if_the_master_enables_it(client: str) -> None:
    with pytest.raises(BadRequest):
        parse_lowstate({"client": client, "tgt": "*", "fun": "test.ping", "eauth": "pam"}, enabled=(*CLIENTS, client), most=1)


@pytest.mark.parametrize("client", Client)
def test_every_client_of_the_table_is_run(client: Client) -> None:
    world = World()
    world.replies = [{"error": {"name": "AuthorizationError", "message": "heard"}}]

    with pytest.raises(Forbidden, match="heard"):
        Runner(world, world.hub, options_with(), NoLedger(), master_up=lambda: True).run(low(client), Request("", 1.0))


def test_no_other_file_names_the_clients() -> None:
    names = set(CLIENTS) - EVERYWHERE
    listing = {name for name, found in nodes().items() if any(text_of(node) in names for node in found)}

    assert listing == {"service/clients.py"} | CALLERS


def test_a_client_is_its_name_in_a_message_a_line_and_a_label() -> None:
    assert [f"{client}" for client in Client] == list(CLIENTS) == json.loads(json.dumps(list(Client)))
    assert (*CLIENTS, "invalid") == domains.CLIENTS


def lists(value: object) -> Iterator[Any]:
    """Yield every list under `netapi_enable_clients` or `clients`."""
    for name, inner in value.items() if isinstance(value, dict) else ():
        if name in {"netapi_enable_clients", "clients"} and isinstance(inner, list):
            yield inner
        yield from lists(inner)


@pytest.mark.parametrize(("path", "count"), [("config/master.d/salt-api.conf", 1), ("helm/salt-sidecar/values.yaml", 2)])
def test_what_we_ship_enables_every_client_that_needs_no_setting_of_ours(path: str, count: int) -> None:
    assert list(lists(yaml.safe_load(Path(ROOT, path).read_text(encoding="utf-8")))) == [list(BY_DEFAULT)] * count


def test_the_readme_names_every_client() -> None:
    assert [name for name in CLIENTS if f"`{name}`" not in Path(ROOT, "README.md").read_text(encoding="utf-8")] == []
