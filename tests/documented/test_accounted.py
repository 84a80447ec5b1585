"""Every command in the documentation is run by a test, or says why not; every block is of a known language, and its data is well-formed."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from service.cli import parser
from service.settings.settings import Settings
from tests.documented.commands import ROOT, Command, blocks, commands, every, pages, read, spans
from tests.documented.inline import EVERYWHERE, INLINE

# Where commands are run, and what does it.
WHERE = {
    "here": "tests/documented/test_here.py",
    "master": "tests/documented/test_on_a_master.py",
    "compose": "tests/e2e/documented.py",
    "identities": "tests/e2e/documented.py",
    "kubernetes": "tests/e2e/documented.py",
    "runbook": "tests/documented/test_on_a_master.py",  # And in Compose and in a pod, by tests/e2e/documented.py.
}
# What the YAML of a page is, if not the sidecar's settings. The chart's values are rendered by tests/helm/test_documented.py.
OTHER_YAML = {"docs/install-kubernetes.md": "values", "helm/salt-sidecar/README.md": "values", "docs/eauth.md": "the master's"}
LANGUAGES = {"sh", "console", "text", "yaml", "json", "nginx", "promql", "dockerfile", "ini"}
HOW = """
Each command in the documentation is run by a test, or says why it is not. For a block (```sh, ```console) put one of these in the line before it, where readers do not see it;
for `a command in a line` put it into tests/documented/inline.py:
    <!-- run: WHERE -->                       run as it stands; WHERE is one of {where}
    <!-- run by: FILE: WORDS -->              the test in FILE, which has WORDS in it, runs it already
    <!-- not run: REASON -->                  nobody can run it here, because ...
`make TARGET` and `salt-sidecar SUBCOMMAND` in a line need nothing: the target or the subcommand has to exist. Not accounted for:
"""
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def fault(command: Command) -> str:
    """Return what is wrong with what is declared about a command."""
    kind, _, rest = command.marker.partition(": ")
    if kind == "run":
        return "" if rest in WHERE else f"there is no place {rest!r} to run it"
    if kind == "run by":
        file, _, words = rest.partition(": ")
        well = (ROOT / file).is_file() and words and words in (ROOT / file).read_text(encoding="utf-8")
        return "" if well else f"{file} is not there or does not have {words!r}"
    if kind in {"not run", "defines"}:
        return "" if rest else "a reason is missing"
    return _unmarked_fault(command)


def _unmarked_fault(command: Command) -> str:
    program, *arguments = command.text.split()
    if program == "make" and "\n" not in command.text:
        unknown = [word for word in arguments if "=" not in word and word not in TARGETS]
        return f"no target {unknown} in the Makefile" if unknown else ""
    if program == "salt-sidecar" and "\n" not in command.text:
        try:
            parser().parse_args(arguments)
        except SystemExit:
            return "salt-sidecar does not take these arguments"
        return ""
    return "nothing is declared"


def test_every_command_is_run_or_says_why_not() -> None:
    wrong = [f"{command}: {why}\n    {command.text.strip()}" for command in every() if (why := fault(command))]

    assert not wrong, HOW.format(where=", ".join(WHERE)) + "\n".join(wrong)


def test_a_place_to_run_commands_has_a_test_that_does() -> None:
    for where, file in WHERE.items():
        assert f'run_by("{where}")' in (ROOT / file).read_text(encoding="utf-8"), where


def test_what_is_declared_about_inline_commands_is_in_the_documentation() -> None:
    there = {page: {span for _, span in spans(read(page))} for page in pages()}
    there[EVERYWHERE] = set().union(*there.values())
    stale = [(page, text) for page, declared in INLINE.items() for text in declared.keys() - there[page]]

    assert not stale, "not in the documentation any more; delete it from tests/documented/inline.py"


def test_every_block_has_a_language() -> None:
    wrong = [f"{block}: {block.language!r}" for page in pages() for block in blocks(page, read(page)) if block.language not in LANGUAGES]

    assert not wrong, (
        f"write ```sh for commands, ```console for commands behind `$ ` with their answers, ```text for what is no command, or another of {sorted(LANGUAGES)}"
    )


def test_no_command_hides_in_an_indented_block() -> None:
    hidden = re.compile(r"^(?: {4,}|\t)(?:\$ )?(?:docker|kubectl|salt\S*|curl|make|sed|helm|sudo|apt-get) .*$", re.MULTILINE)
    wrong = {page: found for page in pages() if (found := hidden.findall(re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)))}

    assert not wrong, "put it into a ```sh block"


def test_a_lock_file_is_installed_as_it_stands() -> None:
    # Resolved, it would depend on the pip that happens to be there: before 23.3 the pin of NAME does not count for NAME[extra].
    lines = [line for command in every() for line in command.text.splitlines() if re.search(r"\bpip install .*-r ", line)]

    assert lines
    assert not [line for line in lines if not {"--no-deps", "--require-hashes"} <= set(line.split())]


def test_data_in_blocks_is_well_formed() -> None:
    """A block of YAML is for the file that its first line names (`# FILE`), else it is what the page has, by default settings of the sidecar."""
    for block in (block for page in pages() for block in blocks(page, read(page))):
        if block.language == "json":
            assert json.loads(block.text), str(block)
        if block.language == "yaml":
            data = yaml.safe_load(block.text)
            named = re.match(r"# (\S+)", block.text)
            ours = named[1] == "sidecar.yaml" if named else block.page not in OTHER_YAML

            assert data, str(block)
            assert not ours or Settings.model_validate(data), str(block)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<!-- run: compose -->\n```sh\ndocker ps\n```\n", [("docker ps\n", "run: compose")]),
        ("- a list:\n\n  ```sh\n  make x\n  ```\n", [("make x\n", "")]),
        ("```console\n$ docker ps \\\n    --all\nCONTAINER\n$ id\n0\n```\n", [("docker ps \\\n    --all\nid\n", "")]),
        ("```text\nmake x\n```\n", []),
        ("`docker ps --all` and `A=b docker ps` and `docker`", [("docker ps --all", "not run: why"), ("A=b docker ps", "")]),
        ("`docker ps\n--all` twice: `docker ps --all`", [("docker ps --all", "not run: why")]),
    ],
)
def test_commands_are_found(text: str, found: list[tuple[str, str]]) -> None:
    assert [(command.text, command.marker) for command in commands("a.md", text, {"docker ps --all": "not run: why"})] == found


@pytest.mark.parametrize("marker", ["", "run: nowhere", "run by: tests/gone.py: words", "run by: Makefile: nobody wrote this", "not run: ", "maybe"])
def test_a_marker_that_says_nothing_is_a_fault(marker: str) -> None:
    assert fault(Command("a.md", 1, "docker ps", marker))


@pytest.mark.parametrize("text", ["make no-such-target", "salt-sidecar check --no-such-option"])
def test_a_target_or_subcommand_that_does_not_exist_is_a_fault(text: str) -> None:
    assert fault(Command("a.md", 1, text, ""))
