"""Files and the page: only what is inside, only to those who want it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from service.api.pages.site import AppResource, StaticResource
from service.http.app import Paths
from service.http.files import Browser, Folder, Page, site_faults
from service.routes import pageless_urls
from service.settings.settings import Settings, SiteSettings
from tests.unit.http.conftest import Application, Echo

HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A page and a folder with files, and secrets around them."""
    static = tmp_path / "site" / "static"
    (static / "scripts").mkdir(parents=True)
    (tmp_path / "site" / "index.html").write_text("<html>the page</html>")
    (tmp_path / "site" / "secret.txt").write_text("secret")
    (tmp_path / "static-secret").mkdir()
    (tmp_path / "static-secret" / "x.txt").write_text("secret")
    (static / "scripts" / "main.js").write_text("export {};")
    (static / "style.css").write_text("a {}")
    (static / "salt-motd.txt").write_text("hello")
    (static / "ä b.txt").write_text("odd")
    (static / "icon.svg").write_text("<svg/>")
    (static / "out").symlink_to(tmp_path / "site" / "secret.txt")
    (static / "outside").symlink_to(tmp_path)
    (static / "loop").symlink_to("loop")
    (static / "inside.txt").symlink_to("salt-motd.txt")
    for hidden in (".secret", ".git/secret.txt", "scripts/.secret.swp", "..data/secret.txt"):
        (static / hidden).parent.mkdir(exist_ok=True)
        (static / hidden).write_text("secret")
    (static / "mounted.txt").symlink_to("..data/mounted.txt")  # as a ConfigMap's
    (static / "..data" / "mounted.txt").write_text("hello")
    os.mkfifo(static / "pipe")
    return tmp_path / "site"


@pytest.fixture
def app(application: Callable[..., Application], site: Path) -> Application:
    page = Page(site / "index.html")
    browser = Browser(page, "/app", "/ui", pageless_urls(Settings()))
    routes = {
        "/": Echo(),
        "/echo": Echo(),
        "/events": Echo(),
        "/app": AppResource(page),
        "/app/{rest:path}": AppResource(page),
        "/static/{name:path}": StaticResource(Folder(site / "static")),
    }
    return application(routes=routes, labels={"/static/{name:path}": "/static"}, middleware=(Paths(), browser), unmatched=browser.unmatched)


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/static/scripts/main.js", "text/javascript"),
        ("/static/style.css", "text/css"),
        ("/static/salt-motd.txt", "text/plain"),
        ("/static/icon.svg", "image/svg+xml"),
        ("/static/inside.txt", "text/plain"),
        ("/static/mounted.txt", "text/plain"),
        ("/static/salt-motd.txt/", "text/plain"),
        ("//static/salt-motd.txt", "text/plain"),
    ],
)
def test_a_file_comes_with_its_media_type(app: Application, path: str, media_type: str) -> None:
    answer = app.caller.get(path, accept="image/png")

    assert answer.status == 200
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("frame-ancestors 'self'; ")
    assert answer.headers["referrer-policy"] == "same-origin"
    assert app.accounts[0].route == "/static"


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "/static", "/static/", "/static/nope.txt", "/static/scripts", "/static/scripts/", "/static/../secret.txt", "/static/../../static-secret/x.txt",
        "/static/scripts/../../secret.txt", "/static//etc/passwd", "/static/%2e%2e/secret.txt", "/static/..%2fsecret.txt", "/static/..\\secret.txt",
        "/static/out", "/static/outside/site/secret.txt", "/static/loop", "/static/pipe", "/static/a\0b", "/static/salt-motd.txt\0", "/static/" + "x" * 5000,
        "/static/" + "a/" * 2000, "/static/~root/x", "/static/.", "/static/..", "/static/\xff\xfe", "/static-secret/x.txt", "/static/\r\nX-Evil: 1", "/static/*",
        "/static/.secret", "/static/.git/secret.txt", "/static/scripts/.secret.swp", "/static/%2esecret", "/static/..data/secret.txt",
        "/../secret.txt", "/app/../secret.txt", "/static/salt-motd.txt/x",
    ],
    ids=lambda path: repr(path)[:40],
)  # fmt: skip
@pytest.mark.parametrize("accept", ["*/*", HTML, "text/plain"])
def test_what_is_outside_or_no_file_is_not_found(app: Application, path: str, accept: str) -> None:
    answer = app.caller.get(path, accept=accept)

    page_instead = path.startswith(("/app/", "/../", "/static-")) and answer.body == b"<html>the page</html>"
    assert answer.status == 404 or page_instead
    assert b"secret" not in answer.body
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize("path", ["/static/salt-motd.txt", "/app"])
def test_a_file_that_the_caller_has_is_not_sent_again(app: Application, path: str) -> None:
    first = app.caller.get(path)

    by_tag = app.caller.get(path, if_none_match=first.headers["etag"])
    by_date = app.caller.get(path, if_modified_since=first.headers["last-modified"])

    assert first.headers["cache-control"] == "no-cache"
    assert (by_tag.status, by_date.status, by_tag.body) == (304, 304, b"")


@pytest.mark.parametrize(("asked", "status"), [("bytes=1-2", 206), ("bytes=99-", 416), ("nonsense", 400), ("bytes=2-1", 400)])
def test_a_part_of_a_file_can_be_asked_for(app: Application, asked: str, status: int) -> None:
    answer = app.caller.get("/static/salt-motd.txt", range=asked)

    assert answer.status == status
    assert status != 206 or answer.body == b"el"


@pytest.mark.parametrize("path", ["/static/salt-motd.txt", "/app"])
def test_head_tells_the_size_and_sends_nothing(app: Application, path: str) -> None:
    answer = app.caller.request("HEAD", path)

    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) == len(app.caller.get(path).body)


@pytest.mark.parametrize("path", ["/static/salt-motd.txt", "/app", "/app/x"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_files_are_only_read(app: Application, method: str, path: str) -> None:
    assert app.caller.request(method, path, b"{}", content_type="application/json", accept=HTML).status == 405


@pytest.mark.parametrize(
    ("method", "path", "accept", "page"),
    [
        ("GET", "/", HTML, True), ("GET", "/", "text/html", True), ("GET", "/?minionid=x", HTML, True), ("GET", "/grains", HTML, True), ("HEAD", "/", HTML, True),
        ("GET", "/app", "*/*", True), ("GET", "/app/", None, True), ("GET", "/app/any/page", "application/json", True),
        ("GET", "/", None, False), ("GET", "/", "*/*", False), ("GET", "/", "application/json", False), ("GET", "/", "application/json, text/plain, */*", False),
        ("GET", "/", "text/html;q=0.5, application/json", False), ("GET", "/echo", HTML, False), ("POST", "/", HTML, False), ("POST", "/nowhere", HTML, False),
        ("GET", "/nowhere", None, False), ("GET", "/nowhere", "*/*", False), ("GET", "/events", HTML, False), ("GET", "/events/x", HTML, False),
        ("GET", "/ws", HTML, False), ("GET", "/ws/token", HTML, False), ("GET", "/static/nope.html", HTML, False), ("GET", "/hook/x", HTML, False),
    ],
)  # fmt: skip
def test_the_page_is_for_a_browser_that_navigates(app: Application, method: str, path: str, accept: str | None, page: bool) -> None:
    answer = app.caller.request(method, path, b"", **({} if accept is None else {"accept": accept}))

    assert (answer.headers["content-type"].startswith("text/html") and answer.status == 200) == page
    assert not page or method == "HEAD" or answer.body == b"<html>the page</html>"


def test_without_a_page_a_browser_gets_the_api(application: Callable[..., Application]) -> None:
    browser = Browser(None, "/app", "/ui", pageless_urls(Settings()))
    app = application(middleware=(Paths(), browser), unmatched=browser.unmatched)

    assert app.caller.get("/", accept=HTML).headers["content-type"] == "application/json"
    assert app.caller.get("/app", accept=HTML).status == 404


def test_the_page_is_read_again_when_it_changes(app: Application, site: Path) -> None:
    (site / "index.html").write_text("<html>another</html>")

    assert app.caller.get("/app").body == b"<html>another</html>"


def test_a_page_that_is_gone_is_not_found(app: Application, site: Path) -> None:
    (site / "index.html").unlink()

    assert app.caller.get("/app").status == 404


def test_a_site_that_is_not_there_is_a_fault(site: Path) -> None:
    good = SiteSettings(app=site / "index.html", static=site / "static")
    swapped = SiteSettings(app=site / "static", static=site / "index.html")

    assert site_faults(good) == []
    assert [fault.where for fault in site_faults(swapped)] == ["site.app", "site.static"]
