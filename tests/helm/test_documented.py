"""The values and the `helm install` lines of the documentation are taken, and render to what the text says."""

from __future__ import annotations

import itertools
import shlex
from typing import Any

import pytest
import yaml

from tests.documented.commands import Block, Command, blocks, every, read
from tests.helm.rendering import render

PAGE = "docs/install-kubernetes.md"
DOCUMENTED = [block for block in blocks(PAGE, read(PAGE)) if block.language == "yaml"]
INSTALLS = [command for command in every() if command.text.startswith("helm install")]


def values(command: Command) -> dict[str, Any]:
    """Return what a `helm install` line sets; a file that it names is the last block of values before it."""
    set_there: dict[str, Any] = {}
    words = shlex.split(command.text.replace("\\\n", " ").splitlines()[0])
    for option, value in itertools.pairwise(words):
        if option == "-f":
            set_there |= yaml.safe_load([block for block in DOCUMENTED if block.line < command.line][-1].text)
        if option in {"--set", "--set-json"}:
            name, _, leaf = value.partition("=")
            place = set_there
            for part in name.split(".")[:-1]:
                place = place.setdefault(part, {})
            # What is true and false, a list or a map is so in YAML too.
            place[name.split(".")[-1]] = yaml.safe_load(leaf)
    return set_there


@pytest.mark.parametrize("block", DOCUMENTED, ids=str)
def test_the_chart_takes_documented_values(block: Block) -> None:
    text = block.text.replace("sha256:...", f"sha256:{'0' * 64}")

    assert render(yaml.safe_load(text)).objects


@pytest.mark.parametrize("command", INSTALLS, ids=str)
def test_helm_install_renders(command: Command) -> None:
    given = values(command)

    assert given
    assert render(given).objects
