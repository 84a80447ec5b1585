"""A real browser: the page that the sidecar serves, and the same page of other origins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.demo import calls
from service.demo.embedded import PATIENCE_SECONDS, EmbeddedSalt, until
from service.openapi.operations import OPERATIONS
from tests.compat.browser import Browser, browser
from tests.compat.conftest import Site, page_sidecar
from tests.real.conftest import kill_master

pytestmark = [pytest.mark.master, pytest.mark.slow]

# The page's own script is a module: it runs after the document was read.
RUN = """async (api, credentials) => {
    while (!window.run) await new Promise((resolve) => setTimeout(resolve, 20));
    return window.run(api, credentials);
}"""
LOG_IN = """async (credentials) =>
    (await fetch("/login", { method: "POST", headers: { Accept: "application/json" }, body: JSON.stringify(credentials) })).status"""
# What needs no preflight: the browser sends it, cookie and all, and only keeps the answer from the page.
FORGE = """async (api) => {
    const sent = { method: "POST", mode: "no-cors", credentials: "include" };
    await fetch(api + "/logout", sent);
    return new Promise((resolve) => {
        const frame = document.createElement("iframe");
        const form = Object.assign(document.createElement("form"), { method: "POST", action: api + "/logout", target: "forged" });
        frame.name = "forged";
        document.body.append(frame, form);
        frame.onload = () => resolve("sent");
        form.submit();
    });
}"""
CALL_BY_COOKIE = """async (low) =>
    (await fetch("/", { method: "POST", headers: { Accept: "application/json" }, body: JSON.stringify(low) })).status"""
# Gives the login's status; the page keeps the token and polls.
LOG_IN_AND_POLL = """async (credentials, pause) => {
    while (!window.poll) await new Promise((resolve) => setTimeout(resolve, 20));
    const login = await fetch("/login", { method: "POST", headers: { Accept: "application/json" }, body: JSON.stringify(credentials) });
    window.token = (await login.json()).return[0].token;
    window.poll("", window.token, pause);
    return login.status;
}"""
POLLS = """async () => {
    await new Promise((resolve) => setTimeout(resolve, 200));
    return window.polls;
}"""
CALL_IN_SESSION = """async (low) => {
    const headers = { Accept: "application/json", "X-Auth-Token": window.token };
    const answer = await fetch("/", { method: "POST", headers, body: JSON.stringify(low) });
    return [answer.status, answer.status === 200 ? (await answer.json()).return : null];
}"""
# Opens a call of /docs, sends it, and gives how many calls are shown and the status that came.
TRY = """async () => {
    const found = async (selector) => {
        while (!document.querySelector(selector)) await new Promise((resolve) => setTimeout(resolve, 50));
        return document.querySelector(selector);
    };
    const call = "[id$=-get_login]";
    (await found(`${call} .opblock-summary-control`)).click();
    (await found(`${call} .try-out__btn`)).click();
    (await found(`${call} .execute`)).click();
    const status = await found(`${call} .live-responses-table tbody .response-col_status`);
    return [document.querySelectorAll(".opblock").length, status.innerText.trim()];
}"""
PING = {"client": "local", "tgt": "minion-1", "fun": "test.ping"}
POLL_MILLISECONDS = 500
# Much longer than the sidecar remembers a token without asking, and than a master takes to restart.
AWAY_MILLISECONDS = 90_000
BACKGROUND = "rgb(250, 250, 245)"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str, str], str]) -> Iterator[Browser]:
    driver, chromium = program("chromedriver", "chromium-driver"), program("chromium", "chromium")
    with browser(driver, chromium, tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def expect_everything(results: dict[str, Any]) -> None:
    assert results == {
        "login": {"status": 200, "user": "demo", "header": True},
        "cookie seen by scripts": "",
        "call": {"minion-1": True, "minion-2": True},
        "call by cookie": 200,
        "call that needs a preflight": 200,
        "event": True,
        "absent file": 404,
        "stylesheet": BACKGROUND,
        "logout": "Your token has been cleared",
        "call after logout": 401,
    }


@pytest.fixture
def keep(window: Browser, artifacts: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Take a picture and say where it is."""

    def kept(name: str) -> None:
        path = artifacts / f"{name}.png"
        window.screenshot(path)
        with capsys.disabled():
            print(f"\nscreenshot: {path}")
        assert path.stat().st_size > 1000

    return kept


def test_the_documentation_is_drawn_and_calls_the_api(window: Browser, site: Site, keep: Callable[[str], None]) -> None:
    window.leave()
    window.open(f"{site.url}/docs")

    calls_shown, status = window.call(TRY)

    keep("docs")
    # Some are served at two URLs.
    assert calls_shown >= sum(map(len, OPERATIONS.values()))
    assert status == "200"
    assert window.complaints() == []


def test_a_page_of_the_sidecar_logs_in_calls_and_listens(window: Browser, site: Site, salt_master: EmbeddedSalt, keep: Callable[[str], None]) -> None:
    window.open(f"{site.url}/?minionid=x#keys")

    results = window.call(RUN, "", salt_master.credentials)

    keep("same-origin")
    expect_everything(results)


def test_a_page_of_a_listed_origin_does_the_same(window: Browser, site: Site, salt_master: EmbeddedSalt, keep: Callable[[str], None]) -> None:
    window.open(f"{site.friend}/index.html")

    results = window.call(RUN, site.url, salt_master.credentials)

    keep("listed-origin")
    expect_everything(results)


def test_a_page_of_another_origin_is_told_nothing(window: Browser, site: Site, salt_master: EmbeddedSalt) -> None:
    window.open(f"{site.stranger}/index.html")

    results = window.call(RUN, site.url, salt_master.credentials)

    assert results == {"error": "TypeError: Failed to fetch"}


def test_a_page_of_the_same_site_cannot_use_the_cookie(window: Browser, site: Site, salt_master: EmbeddedSalt) -> None:
    window.open(f"{site.url}/app")
    logged_in = window.call(LOG_IN, salt_master.credentials)
    window.open(f"{site.sibling}/index.html")
    forged = window.call(FORGE, site.url)
    window.open(f"{site.url}/app")
    afterwards = window.call(CALL_BY_COOKIE, PING)

    assert (logged_in, forged, afterwards) == (200, "sent", 200)


def test_a_page_that_polls_stays_logged_in_while_the_master_is_gone(window: Browser, own_salt: EmbeddedSalt, tmp_path: Path) -> None:
    own_salt.get_ready()
    with page_sidecar(tmp_path, own_salt.master_config) as (url, ops_url):
        window.open(f"{url}/app")
        logged_in = window.call(LOG_IN_AND_POLL, own_salt.credentials, POLL_MILLISECONDS)
        kill_master(own_salt)
        wait_for(lambda: calls.get(f"{ops_url}/readyz") == 503)
        gone = window.call(POLLS)[-1][0]
        refused = window.call(CALL_IN_SESSION, PING)
        wait_for(lambda: window.call(POLLS)[-1][0] > gone + AWAY_MILLISECONDS)
        still_gone = calls.get(f"{ops_url}/readyz")
        own_salt.start_master()
        wait_for(lambda: window.call(CALL_IN_SESSION, PING) == [200, [{"minion-1": True}]])
        polls = window.call(POLLS)

    assert (logged_in, refused, still_gone) == (200, [503, None], 503)
    assert {status for _, status in polls} == {200}
    assert len([at for at, _ in polls if gone < at < gone + AWAY_MILLISECONDS]) > 10


def wait_for(condition: Callable[[], bool]) -> None:
    assert any(condition() for _ in until(PATIENCE_SECONDS)), "it does not come true"
