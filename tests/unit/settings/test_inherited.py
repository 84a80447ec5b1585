"""The master configuration's API sections: what means the same is taken over, what does not is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.errors import InvalidConfiguration
from service.settings.inherited import OPTIONS, SILENT, TLS_OPTIONS, inherit
from service.settings.settings import Settings
from service.settings.sources import load


def loaded(section: Any, environ: dict[str, str] | None = None, **raw: Any) -> Settings:
    return load({"SALT_MASTER_CONFIG": "/nonexistent/master", **(environ or {})}, inherit({"rest_cherrypy": section, **raw}))


def test_a_usual_section_means_what_it_means_there(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("")
    section = {
        "port": 8000,
        "host": "0.0.0.0",
        "disable_ssl": True,
        "app": str(tmp_path / "index.html"),
        "app_path": "gui",
        "static": str(tmp_path),
        "static_path": "/files/",
        "root_prefix": "/salt/",
        "max_request_body_size": 2_000_000,
        "webhook_url": "hooks/in",
        "webhook_disable_auth": True,
        "stats_disable_auth": True,
        "authorized_ips": ["127.0.0.1", "10.0.0.0/8"],
        "api_acl": {"users": {"*": ["1.1.1.1"], "bar": ["*"]}},
    }

    settings = loaded(section)

    assert (settings.api.port, settings.api.host, settings.api.root_prefix, settings.api.body_limit_bytes) == (8000, "0.0.0.0", "/salt", 2_000_000)
    assert (settings.site.app, settings.site.app_path) == (tmp_path / "index.html", "/gui")
    assert (settings.site.static, settings.site.static_path) == (tmp_path, "/files")
    assert (settings.hook.url, settings.hook.require_login, settings.stats.require_login) == ("/hooks/in", False, False)
    assert settings.access.networks == ("127.0.0.1", "10.0.0.0/8")
    assert settings.access.users == {"*": ("1.1.1.1",), "bar": ("*",)}
    assert inherit({"rest_cherrypy": section}).notes == ()


@pytest.mark.parametrize("section", [None, {}, {"port": None}, {"root_prefix": "/", "max_request_body_size": 0, "api_acl": {}, "authorized_ips": []}])
def test_a_section_that_says_nothing_changes_nothing(section: Any) -> None:
    assert loaded(section) == Settings()


def test_rest_wsgi_wins_over_rest_cherrypy_and_ours_over_both() -> None:
    assert loaded({"port": 8000}, rest_wsgi={"port": 8001}).api.port == 8001
    assert loaded({"port": 8000}, {"SIDECAR_API_PORT": "9000"}, rest_wsgi={"port": 8001}).api.port == 9000


def test_our_file_wins_over_the_section(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text("api: {port: 9000}\naccess: {networks: [10.0.0.0/8]}\n")

    settings = loaded({"port": 8000, "host": "::1", "authorized_ips": ["1.1.1.1"]}, {"SIDECAR_CONFIG": str(tmp_path / "sidecar.yaml")})

    assert (settings.api.port, settings.api.host, settings.access.networks) == (9000, "::1", ("10.0.0.0/8",))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"ssl_crt": "/x.crt", "ssl_key": "/x.key"}, "plain HTTP"),
        ({"app": "/nonexistent/index.html"}, "/nonexistent/index.html does not exist here"),
        ({"static": "/nonexistent"}, "/nonexistent does not exist here"),
        ({"enable_sessions": False, "favicon": "x"}, "enable_sessions, favicon means nothing here"),
        (["port"], "is not a mapping"),
    ],
)
def test_what_an_operator_may_count_on_in_vain_is_told(section: Any, said: str) -> None:
    (note,) = inherit({"rest_cherrypy": section}).notes

    assert said in str(note)
    assert note.fix
    assert loaded(section) == Settings()


def test_a_misspelt_name_in_either_section_is_met_with_the_nearest_one() -> None:
    notes = inherit({"rest_cherrypy": {"hots": "::1", "favicon": "x"}, "rest_wsgi": {"prot": 8001}}).notes

    assert [(note.where, note.problem) for note in notes] == [
        ("rest_cherrypy", "favicon, hots means nothing here"),
        ("rest_wsgi", "prot means nothing here"),
    ]
    assert [note.fix.partition("?")[0] for note in notes] == ["did you mean `host`", "did you mean `port`"]


def test_tls_that_is_switched_off_is_no_news() -> None:
    assert inherit({"rest_cherrypy": {"ssl_crt": "x", "disable_ssl": True, "debug": True, "thread_pool": 1}}).notes == ()


@pytest.mark.parametrize(
    "section",
    [
        {"port": "many"}, {"host": {}}, {"app": 5}, {"app_path": 5}, {"app_path": "a/b"}, {"static_path": []}, {"root_prefix": "/a b"}, {"webhook_url": {}},
        {"max_request_body_size": "x"}, {"authorized_ips": ["localhost"]}, {"authorized_ips": {}}, {"api_acl": {"users": [1]}}, {"api_acl": {"users": {"x": ["y"]}}},
        {"api_acl": [1]},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_value_is_a_fault_that_names_its_place(section: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        loaded(section)

    (name,) = section
    assert {fault.where for fault in caught.value.faults} == {f"rest_cherrypy.{name} in the master configuration"}


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({"SIDECAR_CORS_ORIGINS": "gui.example.org"}, "cors"),
        ({"SIDECAR_CORS_ORIGINS": "https://gui.example.org/page"}, "cors"),
        ({"SIDECAR_CORS_ORIGINS": "https://*.example.org"}, "cors"),
        ({"SIDECAR_CORS_ORIGINS": "*", "SIDECAR_CORS_CREDENTIALS": "true"}, "cors"),
        ({"SIDECAR_ACCESS_NETWORKS": "10.0.0.0/33"}, "SIDECAR_ACCESS_NETWORKS"),
        ({"SIDECAR_ACCESS_TRUSTED_PROXIES": "proxy"}, "SIDECAR_ACCESS_TRUSTED_PROXIES"),
        ({"SIDECAR_ACCESS_USERS": "{root: [nowhere]}"}, "SIDECAR_ACCESS_USERS"),
        ({"SIDECAR_ACCESS_USERS": "{root: ["}, "SIDECAR_ACCESS_USERS"),
    ],
)
def test_a_list_that_could_not_protect_is_refused(environ: dict[str, str], where: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        loaded(None, environ)

    assert [fault.where for fault in caught.value.faults] == [where]


def test_lists_can_be_written_in_the_environment() -> None:
    environ = {"SIDECAR_ACCESS_USERS": "{root: [10.0.0.0/8], '*': ['*']}", "SIDECAR_CORS_ORIGINS": "https://GUI.example.org/, http://localhost:3000"}

    settings = loaded(None, environ)

    assert settings.access.users == {"root": ("10.0.0.0/8",), "*": ("*",)}
    assert settings.cors.origins == ("https://gui.example.org", "http://localhost:3000")


def test_the_guide_names_every_option() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "migrate.md").read_text(encoding="utf-8")

    assert [name for name in (*OPTIONS, *SILENT, *TLS_OPTIONS) if f"`{name}`" not in guide] == []
    assert [ours for ours, _ in OPTIONS.values() if f"`{ours}`" not in guide] == []
