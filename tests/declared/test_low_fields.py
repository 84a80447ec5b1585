"""The table of a low's fields is true: the clients read what it has and nothing else, and what it calls Salt's is Salt's."""

from __future__ import annotations

import ast
import re

import pytest
import salt.config
import salt.utils.parsers

from service.clients import Client
from service.gateway.low_fields import COMMON, DEFAULT_BATCH, FIELDS, SHAPES, LowField
from tests.declared.code import nodes, text_of

TABLE = "service/gateway/low_fields.py"
# What it looks up are the fields of a login.
LOGIN = "service/gateway/clients/tokens.py"
NAMES = {field.name for field in (*COMMON, *FIELDS)}
# Old names that are renamed when a low is parsed; the table tells of them under the new ones.
OLD_NAMES = {"expr_form", "sharedsecret"}


def names_read() -> set[str]:
    """Return what the gateway looks up in the fields of a low: `fields["x"]`, `fields.get("x")` and `"x" in fields`."""
    found: set[str | None] = set()
    for name, parts in nodes().items():
        if not name.startswith("service/gateway/") or name in {TABLE, LOGIN}:
            continue
        for node in parts:
            if isinstance(node, ast.Subscript) and _is_fields(node.value):
                found.add(text_of(node.slice))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"get", "pop"} and _is_fields(node.func.value):
                found.add(text_of(node.args[0]))
            elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn) and _is_fields(node.comparators[0]):
                found.add(text_of(node.left))
    return {name for name in found if name}


def _is_fields(node: ast.expr) -> bool:
    return ast.unparse(node).rpartition(".")[2] == "fields"


def test_every_field_that_the_gateway_reads_is_in_the_table() -> None:
    assert names_read() - NAMES - OLD_NAMES == set()


def test_every_field_of_the_table_is_named_by_the_code() -> None:
    named = {text for name, parts in nodes().items() if name.startswith("service/gateway/") and name != TABLE for node in parts if (text := text_of(node))}

    assert NAMES - named == set()


def test_a_field_stands_once_for_each_client() -> None:
    for client in Client:
        names = [field.name for field in (*COMMON, *FIELDS) if field.is_for(client)]
        assert len(names) == len(set(names)), client


@pytest.mark.parametrize("field", [*COMMON, *FIELDS], ids=lambda field: f"{field.name}-{'-'.join(field.kinds)}")
def test_an_option_that_is_called_salts_is_salts(field: LowField) -> None:
    parser = salt.utils.parsers.SaltCMDOptionParser()
    options = {option for one in (*parser.option_list, *(two for group in parser.option_groups for two in group.option_list)) for option in str(one).split("/")}

    assert set(re.findall(r"`(-[\w-]+)`", field.salt)) <= options
    assert set(re.findall(r"the master's `(\w+)`", field.default)) <= salt.config.DEFAULT_MASTER_OPTS.keys() | {"rest_timeout"}


def test_a_default_passes_its_own_check() -> None:
    assert SHAPES["local"]["batch"].check(DEFAULT_BATCH) == DEFAULT_BATCH
