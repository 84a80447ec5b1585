"""Settings: where they come from, which source wins, and that every fault is told at once and no value with it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from service.errors import ConfigFault, InvalidConfiguration
from service.settings.inherited import inherit
from service.settings.locations import environ_name, master_config_path, settings_path
from service.settings.option_types import Group
from service.settings.settings import Settings, changed, is_reloadable, options, with_options
from service.settings.sources import load

FILES = Path(__file__).parents[2] / "settings"
# The file's name says what is wrong in it; this is where the fault is said to be, or {file} for the file as a whole.
WHERE = {
    "body-limit-too-small": "api.body_limit_bytes",
    "channels-one": "master.channels",
    "encoding": "{file}",
    "flag": "jobs.metadata",
    "log-level": "log.level",
    "master-uri": "master.uri",
    "option-name-number": "api.1",
    "port-negative": "ops.port",
    "port-too-high": "api.port",
    "port-words": "api.port",
    "seconds-infinite": "jobs.deadline_seconds",
    "seconds-nan": "jobs.deadline_seconds",
    "seconds-zero": "drain.drain_seconds",
    "section-is-a-list": "api",
    "section-is-a-number": "api",
    "section-name-number": "1",
    "slots-zero": "limits.sync_jobs",
    "syntax": "{file}",
    "tag": "{file}",
    "top-level-list": "{file}",
    "top-level-text": "{file}",
    "unknown-option": "api.prot",
    "unknown-section": "apis",
}
SECRET = "hunter2"
PORT_1 = inherit({"rest_wsgi": {"port": 1}})


def faults_of(environ: dict[str, str], rest_wsgi: Any = None) -> list[ConfigFault]:
    with pytest.raises(InvalidConfiguration) as caught:
        load(environ, inherit({"rest_wsgi": rest_wsgi}))
    return caught.value.faults


def written(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "sidecar.yaml"
    path.write_text(text, encoding="utf-8")
    return {"SIDECAR_CONFIG": str(path)}


def test_every_invalid_file_is_expected_somewhere() -> None:
    assert {path.stem.removeprefix("invalid-") for path in FILES.glob("invalid-*.yaml")} == set(WHERE)


@pytest.mark.parametrize("name", WHERE)
def test_an_invalid_file_has_one_fault_that_says_where(name: str) -> None:
    path = FILES / f"invalid-{name}.yaml"
    (fault,) = faults_of({"SIDECAR_CONFIG": str(path)})

    assert fault.where == WHERE[name].format(file=path)
    assert fault.problem
    assert fault.fix


def test_a_good_file_changes_what_it_names_and_leaves_the_rest() -> None:
    settings = load({"SIDECAR_CONFIG": str(FILES / "good.yaml")})

    assert (settings.api.port, settings.limits.sync_jobs, settings.limits.auth_failures_per_minute, settings.log.level) == (9001, 64, 12, "debug")
    assert (settings.api.host, settings.ops) == ("127.0.0.1", Settings().ops)


def test_without_any_source_there_are_the_defaults(tmp_path: Path) -> None:
    assert load({"SALT_MASTER_CONFIG": str(tmp_path / "master")}) == Settings()


def test_the_environment_beats_the_file_and_the_file_the_master(tmp_path: Path) -> None:
    environ = {"SALT_MASTER_CONFIG": str(tmp_path / "master")}
    assert load(environ, PORT_1).api.port == 1
    environ |= written(tmp_path, "api: {port: 2}")
    assert load(environ, PORT_1).api.port == 2
    environ["SIDECAR_API_PORT"] = "3"
    settings = load({**environ, "SIDECAR_LOG_LEVEL": "error"}, PORT_1)

    assert (settings.api.port, settings.log.level) == (3, "error")


@pytest.mark.parametrize("rest_wsgi", [None, {}, {"ssl_crt": "x"}])
def test_a_master_that_says_nothing_about_the_port_changes_nothing(rest_wsgi: Any, tmp_path: Path) -> None:
    assert load({"SALT_MASTER_CONFIG": str(tmp_path / "master")}, inherit({"rest_wsgi": rest_wsgi})).api.port == 8001


@pytest.mark.parametrize("rest_wsgi", [{"port": "eighty"}, {"port": 70_000}, {"port": None}])
def test_a_master_with_an_odd_rest_wsgi_section_is_a_fault_that_names_it(rest_wsgi: Any, tmp_path: Path) -> None:
    (fault,) = faults_of({"SALT_MASTER_CONFIG": str(tmp_path / "master")}, rest_wsgi)

    assert "rest_wsgi" in fault.where


@pytest.mark.parametrize("text", ["api:\n", "api: {}\n", "", "# nothing\n", "null\n"])
def test_an_empty_section_or_file_says_nothing(tmp_path: Path, text: str) -> None:
    environ = written(tmp_path, text)

    assert load({**environ, "SIDECAR_API_PORT": "5"}, PORT_1).api.port == 5
    assert load(environ, PORT_1).api.port == 1


def test_a_section_of_the_wrong_type_is_a_fault_though_the_environment_has_it_too(tmp_path: Path) -> None:
    environ = {**written(tmp_path, "api: [1]\n"), "SIDECAR_API_PORT": "5"}

    assert [fault.where for fault in faults_of(environ, {"port": 1})] == ["api"]


def test_all_faults_of_all_sources_are_told_at_once(tmp_path: Path) -> None:
    environ = {**written(tmp_path, "api: {port: x, hots: y}\nlimit: {}\n"), "SIDECAR_LOG_LEVEL": "loud", "SIDECAR_API_PROT": "1", "SIDECAR_OPS_PORT": "-1"}
    with pytest.raises(InvalidConfiguration) as caught:
        load(environ)

    assert {fault.where for fault in caught.value.faults} == {"api.port", "api.hots", "limit", "SIDECAR_LOG_LEVEL", "SIDECAR_API_PROT", "SIDECAR_OPS_PORT"}
    assert all(fault.where in str(caught.value) for fault in caught.value.faults)


def test_a_fault_of_the_file_does_not_hide_those_of_the_environment(tmp_path: Path) -> None:
    environ = {**written(tmp_path, "api: ["), "SIDECAR_LOG_LEVEL": "loud"}

    assert [fault.where for fault in faults_of(environ)] == [environ["SIDECAR_CONFIG"], "SIDECAR_LOG_LEVEL"]


@pytest.mark.parametrize(
    "text",
    [
        f"api: {{port: {SECRET}}}",
        f"api: {{password: {SECRET}}}",
        f"log: {{level: {SECRET}}}",
        f"master: {{uri: 'http://me:{SECRET}@x'}}",
        f"password: {SECRET}",
        f"api: {{password: {SECRET}",
        f"api:\n  x: {SECRET}\n y: [",
        f"jobs: {{metadata: {SECRET}}}",
        f"- {SECRET}",
        SECRET,
        f"api: !!python/name:{SECRET} x",
        f"api: {{port: *{SECRET}}}",
    ],
)
def test_no_fault_repeats_a_value(tmp_path: Path, text: str) -> None:
    environ = {**written(tmp_path, text), "SIDECAR_OPS_PORT": SECRET, "SIDECAR_PASSWORD": SECRET}
    with pytest.raises(InvalidConfiguration) as caught:
        load(environ)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("api: {prot: 1}", "did you mean `port`? "),
        ("api: {Root-Prefix: /x}", "did you mean `root_prefix`? "),
        ("apis: {}", "did you mean `api`? "),
        ("port: 1", "did you mean `api.port` or `ops.port` or `websocket.port`? "),
        ("api: {drain_seconds: 1}", "did you mean `drain.drain_seconds`? "),
        ("metrics: {per_minion: {enabeld: true}}", "did you mean `enabled`? "),
        ("audit: {rules: [{level: none, user: root}]}", "did you mean `users`? "),
        ("hook: {endpoints: {github/push: {secretfile: /x}}}", "did you mean `secret_file`? "),
        ("api: {xylophone: 1}", ""),
        ("xylophone: {port: 1}", ""),
    ],
)
def test_an_unknown_name_is_met_with_the_nearest_known_one(tmp_path: Path, text: str, question: str) -> None:
    (fault,) = faults_of(written(tmp_path, text))

    assert fault.fix == f"{question}See docs/settings.md for the names" if question else "remove it, or see docs/settings.md for the names"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("SIDECAR_API_PROT", "`SIDECAR_API_PORT`"),
        ("SIDECAR_PORT", "`SIDECAR_API_PORT` or `SIDECAR_OPS_PORT`"),
        ("SIDECAR_CONFG", "`SIDECAR_CONFIG`"),
        ("SIDECAR_XYLOPHONE", ""),
    ],
)
def test_an_unknown_variable_is_met_with_the_nearest_known_ones(tmp_path: Path, variable: str, meant: str) -> None:
    (fault,) = faults_of({variable: "1", "SALT_MASTER_CONFIG": str(tmp_path / "master")})

    assert fault.where == variable
    assert fault.fix.startswith(f"did you mean {meant}? " if meant else "remove it")


def test_an_unknown_name_inside_a_variable_is_told_with_it(tmp_path: Path) -> None:
    (fault,) = faults_of({"SIDECAR_METRICS_PER_MINION": '{"enabeld": true}', "SALT_MASTER_CONFIG": str(tmp_path / "master")})

    assert (fault.where, fault.problem) == ("SIDECAR_METRICS_PER_MINION", "no such option metrics.per_minion.enabeld")


@pytest.mark.parametrize("option", [dotted for dotted, field in options().items() if get_origin(field.annotation) is Literal])
def test_a_wrong_choice_is_met_with_all_of_them(tmp_path: Path, option: str) -> None:
    (fault,) = faults_of({environ_name(option): "xylophone", "SALT_MASTER_CONFIG": str(tmp_path / "master")})

    assert [choice for choice in get_args(options()[option].annotation) if f"'{choice}'" not in fault.problem] == []
    assert fault.fix == f"see {option} in docs/settings.md"


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    (fault,) = faults_of({"SIDECAR_CONFIG": str(path)})

    assert (fault.where, fault.problem) == (str(path), "cannot be read (No such file or directory)")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert "cannot be read" in faults_of({"SIDECAR_CONFIG": str(tmp_path)})[0].problem


def test_paths_come_from_the_environment_or_stand_beside_the_master_configuration() -> None:
    assert master_config_path({}) == Path("/etc/salt/master")
    assert settings_path({}) == Path("/etc/salt/sidecar.yaml")
    assert settings_path({"SALT_MASTER_CONFIG": "/srv/master"}) == Path("/srv/sidecar.yaml")
    assert settings_path({"SALT_MASTER_CONFIG": "/srv/master", "SIDECAR_CONFIG": "/x.yaml"}) == Path("/x.yaml")


def marked(names: set[str]) -> dict[str, bool]:
    """Return each name with whether its declaration says that a reload applies it."""
    return {name: is_reloadable(options()[name]) for name in names}


def test_a_difference_says_whether_a_reload_can_apply_it() -> None:
    new = load({"SIDECAR_CONFIG": str(FILES / "good.yaml")})

    assert marked(changed(Settings(), new)) == {"api.port": False, "limits.sync_jobs": False, "limits.auth_failures_per_minute": True, "log.level": True}
    assert marked(changed(new, new)) == {}


def test_a_reload_takes_what_it_can_and_leaves_the_rest() -> None:
    old, new = Settings(), load({"SIDECAR_CONFIG": str(FILES / "good.yaml")})
    merged = with_options(old, new, (name for name, field in options().items() if is_reloadable(field)))

    assert marked(changed(old, merged)) == {"limits.auth_failures_per_minute": True, "log.level": True}
    assert marked(changed(merged, new)) == {"api.port": False, "limits.sync_jobs": False}


def as_text(default: object) -> str:
    """Return a default as an operator would write it into the environment."""
    if isinstance(default, Group):
        default = default.model_dump()
    return json.dumps(default) if isinstance(default, dict) else ",".join(default) if isinstance(default, tuple) else str(default)


def test_every_option_has_help_a_valid_default_and_a_variable_of_its_own() -> None:
    declared = options()
    defaults = {environ_name(dotted): as_text(field.default) for dotted, field in declared.items() if field.default is not None}

    assert all(field.description for field in declared.values())
    assert len({environ_name(dotted) for dotted in declared}) == len(declared)
    assert environ_name("api.port") == "SIDECAR_API_PORT"
    assert load({"SALT_MASTER_CONFIG": "/nowhere/master", **defaults}) == Settings()


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().api.port = 5  # type: ignore[misc]


def test_test_files_are_readable_by_all() -> None:
    assert all(path.stat().st_mode & stat.S_IROTH for path in FILES.iterdir())
