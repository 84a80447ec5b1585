"""Token calls: what goes to the master, what its answers mean, and how far a revocation reaches."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from service.errors import BadRequest, Fault, Forbidden, JobTimeout, MasterTimeout, MasterUnreachable, Unauthenticated
from service.gateway.clients.local import Request
from service.gateway.clients.result import LowResult
from service.gateway.clients.tokens import Tokens, login_fields
from service.gateway.low import Low
from service.gateway.master.options import MasterOptions

TOKEN = "ab" * 32
NOTHING: Mapping[str, Any] = MappingProxyType({})
DATA = {"token": TOKEN, "name": "alice", "eauth": "pam", "start": 900.0, "expire": 2000.0}
GOOD = {"username": "alice", "password": "secret", "eauth": "pam"}


class Master:
    """Answers every load with `reply`, and runs the runner by removing names from `files`."""

    def __init__(self, reply: object = None, files: set[str] | None = None, fault: Fault | None = None) -> None:
        self.reply = reply
        self.files = files or set()
        self.fault = fault
        self.loads: list[dict[str, Any]] = []
        self.lows: list[Low] = []
        self.slow: list[bool] = []

    def send(self, load: dict[str, Any], *, timeout: float | None = None, slow: bool = False) -> Any:
        self.loads.append(load)
        self.slow.append(slow)
        return self.reply

    def run(self, low: Low, _request: Request) -> LowResult:
        self.lows.append(low)
        if self.fault:
            raise self.fault
        (name,) = low.fields["arg"]
        found = name in self.files
        self.files.discard(name)
        return LowResult(found)


def tokens(master: Master, limits: Mapping[str, Any] = NOTHING, **raw: Any) -> Tokens:
    options = MasterOptions.of({"ret_port": 1, "sock_dir": "/nonexistent", "token_dir": "/nonexistent/tokens", **raw})
    return Tokens(master, options, master.run, **{"time_of_day": lambda: 1000.0, **limits})


def unsettled(how: str) -> None:
    raise AssertionError(f"a revocation that was not put off ended as {how}")


def log_in(master: Master, credentials: Mapping[str, Any]) -> dict[str, Any]:
    return tokens(master).mk_token(login_fields(credentials))


def test_a_login_goes_to_the_master_with_what_else_the_eauth_module_may_want() -> None:
    master = Master(DATA)

    assert log_in(master, {**GOOD, "otp": 123, "empty": None, "token": "", "token_expire": "60"}) == DATA
    assert master.loads == [{**GOOD, "otp": 123, "token_expire": 60.0, "cmd": "mk_token"}]
    assert master.slow == [True]


def test_a_login_cannot_become_another_command() -> None:
    master = Master(DATA)
    log_in(master, {**GOOD, "cmd": "publish", "key": "x", 5: "x"})  # type: ignore[dict-item]

    assert master.loads == [{**GOOD, "cmd": "mk_token"}]


def test_a_shared_secret_is_a_password() -> None:
    master = Master(DATA)
    log_in(master, {"eauth": "sharedsecret", "username": "a", "sharedsecret": "s"})

    assert master.loads == [{"eauth": "sharedsecret", "username": "a", "password": "s", "cmd": "mk_token"}]


@pytest.mark.parametrize(
    "reply", ["", False, None, {}, [], "Some exception handling minion payload", {"error": "x"}, {**DATA, "expire": "soon"}, {**DATA, "name": None}]
)
def test_anything_but_token_data_is_a_refusal(reply: object) -> None:
    with pytest.raises(Unauthenticated, match="Could not authenticate using provided credentials"):
        log_in(Master(reply), GOOD)


@pytest.mark.parametrize("credentials", [{}, {"eauth": "pam"}, {"eauth": "pam", "username": "a"}, {"eauth": "pam", "password": "a"}, {"username": "a", "password": "b"}, {"token": TOKEN}, {**GOOD, "eauth": ""}])  # fmt: skip
def test_a_login_that_must_fail_does_not_reach_the_master(credentials: dict[str, Any]) -> None:
    master = Master(DATA)

    with pytest.raises(Unauthenticated):
        log_in(master, credentials)
    assert master.loads == []


@pytest.mark.parametrize("wrong", [{"username": 1}, {"password": ["x"]}, {"eauth": {}}, {"token": 5}, {"token_expire": "x"}, {"token_expire": True}, {"token_expire": 0}, {"token_expire": []}, {"token_expire": 10**400}])  # fmt: skip
def test_a_field_of_the_wrong_kind_is_a_bad_request(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        log_in(Master(DATA), {**GOOD, **wrong})


def test_credentials_are_good_when_the_master_makes_a_token_for_them_which_does_not_stay(tmp_path: Path) -> None:
    file = tmp_path / f"{TOKEN}.p"
    file.touch()
    master = Master(DATA)

    assert tokens(master, token_dir=str(tmp_path)).are_good(GOOD)
    assert master.loads == [{**GOOD, "cmd": "mk_token"}]
    assert (file.exists(), master.lows) == (False, [])


@pytest.mark.parametrize(("credentials", "reply", "good"), [(GOOD, "", False), ({"eauth": "pam"}, DATA, False), ({"token": TOKEN}, DATA, True), ({"token": TOKEN}, {}, False)])  # fmt: skip
def test_credentials_are_as_good_as_the_master_says(credentials: dict[str, Any], reply: object, good: bool) -> None:
    assert tokens(Master(reply)).are_good(credentials) is good


def test_a_live_token_has_data() -> None:
    master = Master(DATA)

    assert tokens(master).get_token(TOKEN) == DATA
    assert master.loads == [{"cmd": "get_token", "token": TOKEN}]


@pytest.mark.parametrize("reply", [{}, False, "", None, {**DATA, "expire": 1000.0}, {**DATA, "expire": 1}, {"token": TOKEN}])
def test_a_dead_token_has_none(reply: object) -> None:
    assert tokens(Master(reply)).get_token(TOKEN) is None


def test_a_master_in_trouble_says_nothing_about_the_token() -> None:
    with pytest.raises(MasterUnreachable, match="cannot check"):
        tokens(Master("Some exception handling minion payload")).get_token(TOKEN)


@pytest.mark.parametrize("token", ["../x", "", "x" * 64, "ab", TOKEN + "\n"])
def test_what_is_no_token_never_reaches_the_master(token: str) -> None:
    master = Master(DATA)

    assert tokens(master).get_token(token) is None
    assert tokens(master).revoke(token, 2000.0, unsettled) == "here"
    assert (master.loads, master.lows) == ([], [])


@pytest.mark.parametrize("suffix", ["", ".p"])
def test_the_file_is_removed_where_we_share_the_folder(tmp_path: Path, suffix: str) -> None:
    master = Master()
    file = tmp_path / (TOKEN + suffix)
    file.write_text("")

    assert tokens(master, token_dir=str(tmp_path)).revoke(TOKEN, 2000.0, unsettled) == "file"
    assert not file.exists()
    assert master.lows == []


@pytest.mark.parametrize("suffix", ["", ".p"])
def test_the_masters_runner_removes_it_where_we_do_not(suffix: str) -> None:
    master = Master(files={TOKEN + suffix})

    assert tokens(master).revoke(TOKEN, 2000.0, unsettled) == "runner"
    assert {(low.client, low.fun, low.fields["token"]) for low in master.lows} == {("runner", "auth.del_token", TOKEN)}
    assert master.files == set()


@pytest.mark.parametrize("fault", [Forbidden("no right"), Unauthenticated("no"), JobTimeout("slow"), None])
def test_else_this_process_refuses_it(fault: Fault | None) -> None:
    master = Master(DATA, fault=fault)
    ours = tokens(master)

    assert ours.revoke(TOKEN, 2000.0, unsettled) == "here"
    assert ours.is_revoked(TOKEN)
    assert ours.get_token(TOKEN) is None
    assert not ours.is_revoked("cd" * 32)


@pytest.mark.parametrize("fault", [MasterUnreachable("down"), MasterTimeout("busy")])
def test_what_cannot_reach_the_master_is_refused_here_and_revoked_when_it_is_back(fault: Fault) -> None:
    master = Master(files={TOKEN}, fault=fault)
    ended: list[str] = []
    ours = tokens(master)

    assert ours.revoke(TOKEN, 2000.0, ended.append) == "later"
    ours.settle()
    assert (ours.is_revoked(TOKEN), ended, len(master.lows)) == (True, [], 2)

    master.fault = None
    ours.settle()
    ours.settle()
    assert (ended, master.files) == (["runner"], set())


def test_what_is_owed_is_settled_by_a_thread_of_its_own_and_only_if_there_is_any() -> None:
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    master = Master(files={TOKEN})
    ours = tokens(master)
    ours.settle_soon()

    assert ours.owe(TOKEN, 2000.0, ended.put) == "later"
    assert master.lows == []
    ours.settle_soon()
    assert ended.get(timeout=60) == "runner"


def test_nothing_is_owed_that_the_master_need_not_do_or_that_has_expired(tmp_path: Path) -> None:
    (tmp_path / TOKEN).touch()
    master = Master(files={TOKEN})
    beside, elsewhere, ours = tokens(master, token_dir=str(tmp_path)), tokens(master, eauth_tokens="redis"), tokens(master)

    assert (beside.owe(TOKEN, 2000.0, unsettled), elsewhere.owe(TOKEN, 2000.0, unsettled), ours.owe("x", 2000.0, unsettled)) == ("file", "here", "here")
    assert ours.owe(TOKEN, 999.0, unsettled) == "later"
    for one in (beside, elsewhere, ours):
        one.settle()
    assert master.lows == []


@pytest.mark.parametrize("raw", [{"eauth_tokens": "redis"}, {"token_dir": ""}])
def test_a_store_that_holds_no_files_is_left_alone(raw: dict[str, Any]) -> None:
    master = Master(files={TOKEN})

    assert tokens(master, **raw).revoke(TOKEN, 2000.0, unsettled) == "here"
    assert master.lows == []


@pytest.mark.parametrize(("version", "expected"), [("3008.3", "here"), ("3007.15", "runner")])
def test_from_3008_on_tokens_are_where_the_cache_is(version: str, expected: str) -> None:
    master = Master(files={TOKEN})

    assert tokens(master, {"salt_version": version}, cache="redis").revoke(TOKEN, 2000.0, unsettled) == expected


def test_a_revocation_during_the_look_up_counts() -> None:
    master = Master()
    ours = tokens(master)

    def send(load: dict[str, Any], *, timeout: float | None = None, slow: bool = False) -> Any:
        ours.revoke(TOKEN, 2000.0, unsettled)
        return DATA

    master.send = send  # type: ignore[method-assign]

    assert ours.get_token(TOKEN) is None


def test_what_is_remembered_has_an_end() -> None:
    now = 400.0
    ours = tokens(Master(), {"most_revoked": 3, "time_of_day": lambda: now}, token_dir="")
    for name, expire in (("over", 500.0), ("first", 2000.0), ("second", 2000.0)):
        ours.revoke(name, expire, unsettled)
    now = 1000.0
    ours.revoke(TOKEN, 2000.0, unsettled)

    assert [ours.is_revoked(name) for name in ("over", "first", "second", TOKEN)] == [False, True, True, True]
    ours.revoke("last", 2000.0, unsettled)
    assert [ours.is_revoked(name) for name in ("first", "second", TOKEN, "last")] == [False, True, True, True]
