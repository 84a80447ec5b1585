"""Rights on the real master: every client, every form of `fun`, every user; what may pass is worked out here from the rights, function by function."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from service.demo.embedded import EmbeddedSalt
from service.wiring.configuration import read_configuration
from tests.caller import Response
from tests.contract.conftest import LENIENT, Api, real_sidecar

pytestmark = pytest.mark.master

MINIONS = ("minion-1", "minion-2")
# The two clients that ask first, and what they ask.
ASKS = {"local_subset": "sys.list_functions", "local_batch": "test.ping"}
USERS: dict[str, list[Any]] = {
    "everything": [".*"],
    "everything-on-all": [{"*": [".*"]}],
    "ping": ["test.ping"],
    "test": ["test.*", "sys.list_functions"],
    "two": ["test.ping", "test.arg", "sys.list_functions"],
    "one-minion": [{"minion-1": ["test.ping", "test.arg", "sys.list_functions"]}],
    "here-and-there": [{"minion-1": ["test.ping", "sys.list_functions"]}, {"minion-2": ["test.arg"]}],
    "split": ["test.ping", {"minion-1": ["test.arg"]}],
    "limited": [{"*": ["test.ping", "sys.list_functions", {"test.arg": {"args": ["good"]}}]}],
    "master-only": ["@runner", "@wheel", "test.ping"],
    "none": [],
}
Doings = list[tuple[str, list[str]]]
FORMS: dict[str, tuple[dict[str, Any], Doings]] = {
    "one": ({"fun": "test.ping"}, [("test.ping", [])]),
    "list of one": ({"fun": ["test.arg"], "arg": [["good"]]}, [("test.arg", ["good"])]),
    "permitted first": ({"fun": ["test.ping", "test.arg"], "arg": [[], ["good"]]}, [("test.ping", []), ("test.arg", ["good"])]),
    "permitted last": ({"fun": ["test.arg", "test.ping"], "arg": [["bad"], []]}, [("test.arg", ["bad"]), ("test.ping", [])]),
    "same twice": ({"fun": ["test.arg", "test.arg"], "arg": [["good"], ["bad"]]}, [("test.arg", ["good"]), ("test.arg", ["bad"])]),
    "always permitted": ({"fun": ["saltutil.find_job", "test.arg"], "arg": [["1"], ["good"]]}, [("saltutil.find_job", ["1"]), ("test.arg", ["good"])]),
    "another executor": ({"fun": "test.ping", "module_executors": ["direct_call"]}, [("test.ping", []), ("cmd.run", [])]),
    "returner's options": ({"fun": "test.ping", "ret_kwargs": {"filename": "/nonexistent"}}, [("test.ping", []), ("cmd.run", [])]),
}
# Each function may be permitted, but by entries of different reach: refused, with a word how to ask instead.
COMPOUND = {"permitted first", "permitted last", "always permitted", "another executor", "returner's options"}
UNDECIDED = {*(("split", form) for form in COMPOUND), ("one-minion", "always permitted"), ("here-and-there", "always permitted")}
CASES = [
    *(("local_async", tgt) for tgt in ("*", *MINIONS)),
    ("local", "minion-1"),
    ("local_subset", "minion-1"),
    ("local_batch", "minion-1"),
    ("POST /minions", "minion-1"),
]


@pytest.fixture(scope="module")
def salt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSalt]:
    with EmbeddedSalt(tmp_path_factory.mktemp("rights"), threads=True, users=USERS, master={"gather_job_timeout": 30}) as embedded:
        yield embedded


@pytest.fixture(scope="module")
def api(salt: EmbeddedSalt) -> Iterator[Api]:
    with real_sidecar(salt, read_configuration({"SALT_MASTER_CONFIG": str(salt.master_config), **LENIENT})) as made:
        yield made


@pytest.fixture(scope="module")
def ruled(salt: EmbeddedSalt) -> Iterator[Api]:
    """The application with a policy on top of those rights."""
    rules = [{"action": "refuse", "users": ["everything"], "functions": ["test.arg"], "targets": ["minion-2"]}, {"action": "refuse", "functions": ["jobs.*"]}]
    with real_sidecar(salt, read_configuration({"SALT_MASTER_CONFIG": str(salt.master_config), **LENIENT, "SIDECAR_POLICY_RULES": json.dumps(rules)})) as made:
        yield made


def may(rights: list[Any], fun: str, args: list[str], tgt: str) -> bool:
    """Say whether one function is permitted on a whole target."""
    if fun == "saltutil.find_job":
        return True
    wanted = set(fnmatch.filter(MINIONS, tgt))
    for entry in rights:
        reach, functions = ("*", [entry]) if isinstance(entry, str) else next(iter(entry.items()))
        if wanted <= set(fnmatch.filter(MINIONS, reach)) and any(_fits(one, fun, args) for one in functions):
            return True
    return False


def _fits(one: Any, fun: str, args: list[str]) -> bool:
    if isinstance(one, str):
        return re.match(one, fun) is not None
    ((name, limit),) = one.items()
    return re.match(name, fun) is not None and args[: len(limit["args"])] == limit["args"]


def send(api: Api, client: str, tgt: str, fields: dict[str, Any], credentials: dict[str, str]) -> Response:
    if client == "POST /minions":
        return api.caller.post({"tgt": tgt, **fields}, "/minions", x_auth_token=credentials["token"])
    return api.caller.post({"client": client, "tgt": tgt, **fields, **credentials})


def token_of(api: Api, credentials: dict[str, str]) -> dict[str, str]:
    return {"token": api.caller.post(credentials, "/login").json()["return"][0]["token"]}


@pytest.mark.parametrize("user", USERS)
def test_each_function_is_permitted_by_itself(api: Api, salt: EmbeddedSalt, user: str) -> None:
    inline = salt.credentials_of(user)
    token = token_of(api, inline)
    for client, tgt in CASES:
        for form, (fields, doings) in FORMS.items():
            asked: Doings = [(ASKS[client], [])] if client in ASKS else []
            good = all(may(USERS[user], fun, args, tgt) for fun, args in doings + asked)
            for credentials in (token, inline) if client == "local_async" else (inline,) if client in {"local", "local_batch"} else (token,):
                answer = send(api, client, tgt, fields, credentials)
                what = (user, client, tgt, form, sorted(credentials), answer.body[:300])
                if good and (user, form) not in UNDECIDED:
                    assert answer.status in {200, 202}, what
                else:
                    assert answer.status == 401, what


def test_whoever_is_refused_has_run_nothing(api: Api, salt: EmbeddedSalt) -> None:
    """Whatever the answers said: of every job in the master's cache, each function was permitted to its user."""
    for fields, _ in FORMS.values():
        send(api, "local_async", "*", fields, salt.credentials_of("ping"))
    (jobs,) = api.run(client="runner", fun="jobs.list_jobs").json()["return"]
    published = [job for job in jobs.values() if job["User"] in USERS]

    assert published
    for job in published:
        funs = job["Function"]
        funs, args = (funs, job["Arguments"]) if isinstance(funs, list) else ([funs], [job["Arguments"]])
        tgt = job["Target"] if isinstance(job["Target"], str) else job["Target"][0]
        assert all(may(USERS[job["User"]], fun, arg, tgt) for fun, arg in zip(funs, args, strict=True)), json.dumps(job)


def test_a_refusal_says_what_to_do_instead(api: Api, salt: EmbeddedSalt) -> None:
    low = {"client": "local", "tgt": "minion-1", "fun": ["test.ping", "test.arg"], "arg": [[], []], **salt.credentials_of("split")}

    assert "send the functions as lows of their own" in api.caller.post(low).json()["return"]
    assert api.caller.post([{**low, "fun": fun, "arg": []} for fun in low["fun"]]).status == 200


def is_refused(answer: Response) -> bool:
    return answer.status == 401 and answer.json()["error"] == "Forbidden" and "policy" in answer.json()["return"]


def test_a_policy_refuses_what_the_master_would_permit(ruled: Api, api: Api, salt: EmbeddedSalt) -> None:
    inline = salt.credentials_of("everything")
    token = token_of(ruled, inline)
    forms: dict[str, dict[str, Any]] = {
        "test.arg": {"fun": "test.arg", "arg": ["policy"]},
        "a list": {"fun": ["test.ping", "test.arg"], "arg": [[], ["policy"]]},
    }
    for client, form, credentials in (
        ("local", "test.arg", inline),
        ("local_subset", "test.arg", token),
        ("local_batch", "test.arg", token),
        ("local_async", "a list", inline),
        ("POST /minions", "a list", token),
    ):
        for tgt, refused in (("minion-1", False), ("minion-2", True), ("minion*", True), ("?inion-1*", False), ("minion-[13]", True)):
            answer = send(ruled, client, tgt, forms[form], credentials)
            assert is_refused(answer) is refused, (client, tgt, answer.body)
            assert refused or answer.status in {200, 202}, answer.body
    assert is_refused(ruled.run(client="runner", fun="jobs.list_jobs"))
    assert ruled.value(client="local", tgt="minion-2", fun="test.arg", arg=["of another user"])

    (jobs,) = api.run(client="runner", fun="jobs.list_jobs").json()["return"]
    targets = {str(job["Target"]) for job in jobs.values() if "policy" in str(job["Arguments"])}
    assert targets
    assert all("inion-1" in tgt and "minion-2" not in tgt for tgt in targets)


@pytest.mark.parametrize("fun", ["file_roots.write", "pillar_roots.write", "config.apply", "config.update_config"])
def test_the_masters_files_are_not_written_with_the_right_to_do_it(api: Api, salt: EmbeddedSalt, fun: str) -> None:
    before = salt.master_config.read_bytes()

    for client in ("wheel", "wheel_async"):
        assert is_refused(api.run(client=client, fun=fun, kwarg={"data": "x", "path": "x", "key": "x", "value": "x", "file_name": "x", "yaml_contents": {}}))
    assert salt.master_config.read_bytes() == before
    assert api.run(client="wheel", fun="config.values").status == 200


@pytest.mark.parametrize("name", ["every[t]hing", "everyth*", "every.hing", "everything|x"])
def test_a_name_that_could_be_taken_for_anothers_gets_nothing(api: Api, salt: EmbeddedSalt, name: str) -> None:
    credentials = {**salt.credentials_of("none"), "username": name}

    assert api.caller.post(credentials, "/login").status == 401
    for client in ("local", "local_async", "POST /run"):
        path, fields = ("/run", {"client": "local"}) if client == "POST /run" else ("/", {"client": client})
        assert api.caller.post({**fields, "tgt": "minion-1", "fun": "test.arg", **credentials}, path).status == 401
