"""A low for ssh carries a target in the roster, a function and its arguments; everything by which ssh could be told more is refused."""

from __future__ import annotations

import fnmatch
import re
import socket
from typing import Any

import pytest
import salt.client.ssh.client
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import BadRequest
from service.gateway.ssh_low import REFUSED_FIELDS, REFUSED_PREFIXES, sent_target
from tests.unit.gateway.clients.world import low

# Of what SSHClient.sanitize_kwargs lets through; it takes each for another type, so each is given a value that fits it.
TYPES: dict[str, Any] = {"ssh_port": 22, "ssh_timeout": 5, "ssh_options": ["x"], "rosters": ["x"]}


def test_everything_that_salts_client_takes_besides_is_refused_with_the_reason() -> None:
    every = [*REFUSED_FIELDS, *(f"{prefix}x" for prefix in REFUSED_PREFIXES), "roster"]

    for name in every:
        with pytest.raises(BadRequest, match=f"{name} is refused: the roster, keys and options of ssh are the master's own") as caught:
            low("ssh", **{name: "x"})
        assert caught.value.details == {"field": name}


def test_no_field_that_salts_client_knows_is_left_open() -> None:
    """Asks the Salt at hand which fields of a low become options of its own: one that a new release adds fails here."""
    words = set(re.findall(r'\("(\w+)", (?:str|int|bool|list)\)', read(salt.client.ssh.client.__file__)))

    assert len(words) >= 37
    assert {name for name in words if not (name in REFUSED_FIELDS or name.startswith(REFUSED_PREFIXES))} == set()


def read(path: str | None) -> str:
    assert path is not None
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - Salt's own path
        return file.read()


@pytest.mark.parametrize(
    "fun",
    [
        "cp.get_url",
        "cp.cache_file",
        "publish.runner",
        "publish.publish",
        "mine.get",
        "slsutil.renderer",
        "saltcheck.run_test",
        "x509.create_certificate",
        "cmd.script",
    ],
)
def test_a_function_that_salt_ssh_runs_on_the_master_is_refused(fun: str) -> None:
    with pytest.raises(BadRequest, match=f"{fun} is refused with client ssh: salt-ssh would run it on the master"):
        low("ssh", fun=fun)


@pytest.mark.parametrize(
    "fun", ["-r", "--raw", "test.ping\nid", "cmd.run id", "$(id)", "/bin/sh", ["test.ping"], ["test.ping", "cmd.run"], "test.ping --roster=x"]
)
def test_a_function_is_a_name(fun: object) -> None:
    with pytest.raises(BadRequest, match="fun must be a function name"):
        low("ssh", fun=fun)


@pytest.mark.parametrize(
    ("tgt", "tgt_type"),
    [
        ("root@edge-1", "glob"), ("-oProxyCommand=id", "glob"), ("edge-1\nid", "glob"), ("edge 1", "glob"), ("edge;id", "glob"), ("$(id)", "glob"), ("`id`", "glob"), ("a'b", "glob"),
        ('a"b', "glob"), ("a|b", "glob"), ("", "glob"), ("/etc/salt/roster", "glob"), (["edge-1"], "glob"), (5, "glob"), ("a,b", "glob"), ("x" * 5000, "glob"), ("edge-1\x00", "glob"),
        ("root@edge-1", "list"), ("edge-1,-oProxyCommand=id", "list"), (["edge-1", "a b"], "list"), ([], "list"), (["edge-1", 5], "list"), (["a,b"], "list"), ("edge-1,", "list"), ("edge-*", "list"),
        ("root@.*", "pcre"), ("edge\n", "pcre"), ("edge\\", "pcre"), ("-o", "pcre"), (["edge"], "pcre"), ("a b", "nodegroup"), ("-x", "nodegroup"), ("a@b", "nodegroup"),
    ],
)  # fmt: skip
def test_a_target_is_one_in_the_roster(tgt: object, tgt_type: str) -> None:
    with pytest.raises(BadRequest, match="tgt must name hosts by their ids in the roster") as caught:
        low("ssh", tgt=tgt, tgt_type=tgt_type)

    assert caught.value.details == {"field": "tgt"}


@pytest.mark.parametrize("tgt_type", ["range", "compound", "grain", "ipcidr", "", 5, ["list"], "__class__", "glob_minions"])
def test_a_target_type_is_one_that_a_roster_has(tgt_type: object) -> None:
    with pytest.raises(BadRequest, match="tgt_type must be one of glob, list, nodegroup, pcre with client ssh"):
        low("ssh", tgt_type=tgt_type)


@pytest.mark.parametrize(
    "fields",
    [
        {"kwarg": {"extra_filerefs": "/etc/shadow"}}, {"kwarg": {"localconfig": "/tmp/x"}}, {"arg": ["web", "extra_filerefs=/etc/shadow"]}, {"arg": ["localconfig=/tmp/x"]},
        {"arg": [{"__kwarg__": True, "localconfig": "/tmp/x"}]}, {"kwarg": {"a b": 1}}, {"kwarg": {"a;id": 1}}, {"kwarg": {"-o": 1}}, {"kwarg": {"a\n": 1}}, {"kwarg": {"": 1}},
        {"arg": [{"__kwarg__": True, "x`id`": 1}]}, {"arg": ["a", "--no-parse=a"]},
    ],
)  # fmt: skip
def test_no_argument_names_a_file_of_the_masters_or_an_option(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"with client ssh|an option of salt-call's"):
        low("ssh", fun="state.apply", **fields)


@pytest.mark.parametrize("timeout", ["5 -o ProxyCommand=id", "5\n", -1, "NaN", 1e9, [5], True])
def test_a_timeout_is_a_number(timeout: object) -> None:
    if timeout == "5\n":
        assert low("ssh", timeout=timeout).fields["timeout"] == 5
        return
    with pytest.raises(BadRequest, match="timeout must be a number of seconds"):
        low("ssh", timeout=timeout)


def test_a_timeout_is_whole_as_ssh_wants_it() -> None:
    assert low("ssh", timeout="2.5").fields["timeout"] == 3


def test_ordinary_arguments_pass_as_they_are() -> None:
    arguments = ["a b; $(id) 'x'", "-rf", 5, {"a": 1}, "name=it's"]

    assert low("ssh", arg=arguments, kwarg={"pillar": {"any thing": 1}, "test": True}).fields["arg"] == arguments
    assert low("ssh", arg="one").fields["arg"] == ["one"]


IDS = st.text(alphabet="abc12.-_:+", min_size=1, max_size=8).filter(lambda text: not text.startswith("-"))
GLOBS = st.text(alphabet="abc12.-*?[]!", min_size=1, max_size=8).filter(lambda text: not text.startswith("-"))


@pytest.mark.costly
@given(GLOBS, IDS)
@example("[1", "1")
@example("[]1", "1")
def test_a_glob_fits_what_it_did(glob: str, host: str) -> None:
    sent, tgt_type = sent_target(glob, "glob", {})

    assert tgt_type == "glob"
    assert not re.search(r"[\w.:+-]$", sent), "what ends like a name may be one to some resolver"
    assert fnmatch.fnmatchcase(host, sent) == fnmatch.fnmatchcase(host, glob)


@given(IDS)
def test_a_name_fits_itself_and_names_nothing_that_resolves(host: str) -> None:
    for tgt_type, matches in (
        ("glob", fnmatch.fnmatchcase),
        ("list", lambda name, sent: name in sent.split(",")),
        ("pcre", lambda name, sent: re.match(sent, name)),
    ):
        sent, _ = sent_target(host if tgt_type != "pcre" else re.escape(host), tgt_type, {})
        assert matches(host, sent)
        assert not re.fullmatch(r"[\w.:-]+", sent), sent


@pytest.mark.parametrize("tgt_type", ["glob", "list", "pcre"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "1", "localhost."])
def test_the_name_of_a_machine_is_none_once_it_is_sent(host: str, tgt_type: str) -> None:
    sent, _ = sent_target(host, tgt_type, {})

    with pytest.raises(socket.gaierror):
        socket.getaddrinfo(sent, 0, flags=socket.AI_NUMERICHOST if host[-1].isdigit() else 0)


def test_a_nodegroup_is_spelt_out() -> None:
    groups = {"web": ["edge-1", "edge-2"], "text": "edge-1,edge-2"}

    assert sent_target("web", "nodegroup", groups) == sent_target("text", "nodegroup", groups) == ("edge-1,edge-2,", "list")
    with pytest.raises(BadRequest, match="no nodegroup localhost in ssh_list_nodegroups"):
        sent_target("localhost", "nodegroup", groups)
