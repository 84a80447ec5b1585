"""The page for people, in a real browser: every flow on either master, what minions send is text, and everybody can use it."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, get_args

import pytest

from service.api.pages.ui import FILES, VIEWS
from service.demo.embedded import PATIENCE_SECONDS, until
from service.http.files import HTML
from service.jobs import JobStatus
from service.jobs.outcome import OPEN, MinionStatus
from tests.compat.browser import Browser, browser
from tests.compat.conftest import ARTIFACTS
from tests.compat.ui_steps import FILL, log_in, paints, see
from tests.contract.conftest import Api, Listens, fake_api
from tests.contract.test_v1_jobs import fake, gateway_of, get, post, returned
from tests.unit.jobs.test_state_events import said

__all__ = ["fake"]
AXE = Path(__file__).parents[1] / "compat" / "node" / "node_modules" / "axe-core" / "axe.min.js"
NAVIGATES = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
JID = "20260101000000000000"
CLICK = """async (selector, text) => [...document.querySelectorAll(selector)].find((one) => one.textContent.includes(text)).click()"""
PRESS = """async (selector, key) => document.querySelector(selector).dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }))"""
TEXT = """async (selector) => document.querySelector(selector).innerText"""
COUNT = """async (selector) => document.querySelectorAll(selector).length"""
WIDTH = """async () => document.documentElement.scrollWidth"""
# Many minions at once: how many cells there are, and the milliseconds of the longest update.
MANY = """async (prefix, number) => {
    const { MinionGrid } = await import("/ui/minion-grid.js");
    const grid = new MinionGrid(() => {});
    document.getElementById("main").replaceChildren(grid.element);
    const all = (status) => Object.fromEntries(Array.from({ length: number }, (_, index) => [`minion-${index}`, status]));
    grid.set(all("waiting"));
    const took = [];
    for (const status of ["running", "ok", "failed", "running", "ok"]) {
        const began = performance.now();
        grid.set(all(status));
        grid.draw();
        took.push(performance.now() - began);
        await new Promise((resolve) => requestAnimationFrame(resolve));
    }
    return [document.querySelectorAll(".cell").length, Math.max(...took)];
}"""
# A state of many minions at once: how many of the one that is looked at are there, and the milliseconds of the longest update.
MANY_STATES = """async (number) => {
    const { LiveStates } = await import("/ui/live-states.js");
    const states = new LiveStates();
    document.getElementById("main").replaceChildren(states.element, states.of("minion-0"));
    const took = [];
    for (let state = 0; state < 5; state += 1) {
        const began = performance.now();
        for (let minion = 0; minion < number; minion += 1)
            states.add({ minion: `minion-${minion}`, number: state, of: 5, result: "changed", id: "a", name: "b", seconds: 0.1, comment: "done" });
        states.draw();
        took.push(performance.now() - began);
        await new Promise((resolve) => requestAnimationFrame(resolve));
    }
    return [document.querySelectorAll(".states li").length, Math.max(...took)];
}"""
AXE_FOUND = "return { violations: found.violations.map((one) => [one.id, one.nodes.map((node) => node.html)]), passes: found.passes.map((one) => one.id) };"
PAINTINGS = 11
HOSTILE = "<img src=x onerror=alert(1)><script>alert(1)</script>"


def states(text: str) -> dict[str, Any]:
    """Return what a minion returns of three states, one of which failed, with a text in all of them."""
    changes = {"diff": "--- a\n+++ b\n-old\n+new"}
    return {
        f"file_|-{number}_|-/srv/{number}_|-managed": {
            "result": number != 1, "changes": changes if number == 2 else {}, "comment": text, "name": f"/srv/app/{number}.conf", "__id__": f"{text} {number}",
            "__run_num__": number, "duration": 120.5 * (number + 1),
        }
        for number in range(3)
    }  # fmt: skip


class TestServed:
    """What is sent, without a browser."""

    def test_the_page_and_its_files_need_no_session_and_nothing_from_elsewhere(self, api: Api) -> None:
        for path in ("/ui", "/ui/", *(f"/ui/{view}" for view in VIEWS), f"/v1/jobs/{JID}"):
            answer = api.caller.get(path, accept=NAVIGATES)
            assert (answer.status, answer.headers["content-type"]) == (200, f"{HTML};charset=utf-8"), path
            assert "default-src 'none'; script-src 'self'; style-src 'self'" in answer.headers["content-security-policy"]
        for file in FILES.iterdir():
            assert api.caller.get(f"/ui/{file.name}").status == 200
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", file.read_text(encoding="utf-8")), file
        assert [api.caller.get(f"/ui/{name}").status for name in ("nothing.js", "../ui.py", ".hidden")] == [404, 404, 404]

    def test_programs_get_the_api_under_a_jobs_url(self, api: Api) -> None:
        assert [api.caller.get(f"/v1/jobs/{JID}", accept=accept).status for accept in ("application/json", "*/*", "")] == [401, 401, 401]

    def test_it_is_small(self) -> None:
        assert sum(len(gzip.compress(file.read_bytes())) for file in FILES.iterdir()) < 150_000

    def test_everything_lives_below_the_prefix(self, tmp_path: Path) -> None:
        page = fake_api(tmp_path, SIDECAR_API_ROOT_PREFIX="/salt").caller.get("/salt/ui/").body.decode()

        assert 'src="/salt/ui/app.js"' in page
        assert "{prefix}" not in page


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str, str], str]) -> Iterator[Browser]:
    with browser(program("chromedriver", "chromium-driver"), program("chromium", "chromium"), tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def complaints(window: Browser) -> list[str]:
    """Return what the browser complains of, but for the question who is there."""
    return [line for line in window.complaints() if "/v1/session" not in line]


@pytest.mark.slow
def test_who_opens_a_jobs_link_logs_in_and_sees_what_each_minion_returned(api: Api, listens: Listens, window: Browser) -> None:
    jid, url = post(api, fun="test.echo", arg=["hi there"]).json()["jid"], listens(api)
    log_in(window, url, api.demo, f"/v1/jobs/{jid}")
    see(window, "h1 .badge", "succeeded")
    see(window, ".cell", "ok")
    window.call(PRESS, ".grid", "ArrowRight")
    see(window, ".return h2", "minion-2")

    assert "hi there" in window.call(TEXT, ".return")
    window.open(f"{url}/ui/")
    see(window, "table td", "test.echo")
    window.open(f"{url}/ui/minions")
    see(window, ".minions td", "minion-1")
    window.call(CLICK, "#who button", "Log out")
    see(window, "form.login")
    assert complaints(window) == []


@pytest.mark.slow
def test_who_may_not_log_in_is_told_so(fake: Api, listens: Listens, window: Browser) -> None:
    window.devtools("Network.clearBrowserCookies")
    window.open(f"{listens(fake)}/ui/")
    see(window, "form.login")
    window.call(FILL, {"username": "demo", "password": "wrong", "eauth": "sharedsecret"})

    see(window, ".login .fault", "Wrong user")


def deliver(api: Api, jid: str, minion: str, *, well: bool) -> None:
    said = {"return": {} if well else states(HOSTILE), "retcode": 0 if well else 2, "success": well, "fun": "state.apply"}
    gateway_of(api).hub.deliver(returned(jid, minion, **said))


@pytest.mark.slow
def test_a_job_is_seen_while_it_happens_and_run_again_on_the_failed(fake: Api, listens: Listens, window: Browser) -> None:
    gateway_of(fake).master.silent = {"minion-1", "minion-2"}
    jid = post(fake, "", fun="state.apply").json()["jid"]
    log_in(window, listens(fake), fake.demo, f"/v1/jobs/{jid}")
    see(window, "h1 .badge", "running")
    deliver(fake, jid, "minion-1", well=False)
    see(window, ".cell", "failed")
    see(window, ".chip", "waiting 1")
    deliver(fake, jid, "minion-2", well=True)
    see(window, "h1 .badge", "failed")
    window.call(CLICK, ".chip", "failed")
    window.call(PRESS, ".grid", "Enter")
    see(window, ".return .badge", "changed")

    assert window.call(COUNT, "#main img, #main script") == 0
    assert HOSTILE in window.call(TEXT, ".states")
    window.call(CLICK, ".actions button", "Run again")
    see(window, "dd a", jid)
    assert complaints(window) == []


def deliver_state(api: Api, jid: str, minion: str, number: int, text: str) -> None:
    gateway_of(api).hub.deliver(said(minion, number, jid=jid, result=False, name=text, comment=text, __id__=text).raw)


@pytest.mark.slow
def test_the_states_of_a_minion_appear_as_they_end(fake: Api, listens: Listens, window: Browser) -> None:
    gateway_of(fake).master.silent = {"minion-1", "minion-2"}
    jid = post(fake, "", fun="state.apply").json()["jid"]
    deliver_state(fake, jid, "minion-1", 0, "before")
    log_in(window, listens(fake), fake.demo, f"/v1/jobs/{jid}")
    see(window, ".latest", "minion-1: state 1 of 3, failed: before")
    window.call(PRESS, ".grid", "Enter")
    see(window, ".states li", "before")
    deliver_state(fake, jid, "minion-1", 1, HOSTILE)
    deliver_state(fake, jid, "minion-2", 0, "another's")
    see(window, ".states li", HOSTILE)
    see(window, ".latest", "another's")

    assert window.call(COUNT, ".states li") == 2
    assert window.call(COUNT, "#main img, #main script") == 0
    # What it returns takes their place.
    deliver(fake, jid, "minion-1", well=False)
    see(window, ".states .diff", "new")
    assert window.call(COUNT, ".states li") == 3
    assert complaints(window) == []


@pytest.mark.slow
def test_a_job_is_cancelled(fake: Api, listens: Listens, window: Browser) -> None:
    gateway_of(fake).master.silent = {"minion-1", "minion-2"}
    jid = post(fake, "", fun="state.apply").json()["jid"]
    log_in(window, listens(fake), fake.demo, f"/v1/jobs/{jid}")
    see(window, ".actions button", "Cancel")
    window.call(CLICK, ".actions button", "Cancel")

    for _ in until(PATIENCE_SECONDS):
        if get(fake, f"/{jid}").json().get("cancel_asked"):
            return
    raise AssertionError("nobody cancelled it")


@pytest.fixture
def axe() -> str:
    if not AXE.exists():
        missing = "axe-core is not installed: make clients"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return AXE.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1200, 900), (360, 740)])
def test_everybody_can_use_it(fake: Api, listens: Listens, window: Browser, axe: str, scheme: str, width: int, height: int) -> None:
    gateway_of(fake).master.silent = {"minion-1", "minion-2"}
    jids = [post(fake, "", fun="state.apply", arg=["app"]).json()["jid"] for _ in range(2)]
    for jid in jids:
        gateway_of(fake).hub.deliver(
            returned(jid, "minion-1", fun="state.apply", fun_args=["app"], **{"return": states("app config"), "retcode": 2, "success": False})
        )
    deliver_state(fake, jids[0], "minion-2", 0, "app config")
    url = listens(fake)
    window.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    window.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    ARTIFACTS.mkdir(exist_ok=True)
    for view, path, there in (
        ("login", "/ui/", "form.login"),
        ("jobs", "/ui/", "table td"),
        ("job", f"/v1/jobs/{jids[0]}", ".cell"),
        ("live", f"/v1/jobs/{jids[0]}", ".latest"),
        ("minions", "/ui/minions", ".minions td"),
        ("help", "/ui/help", ".help"),
    ):
        if view == "jobs":
            log_in(window, url, fake.demo)
        elif view == "login":
            window.devtools("Network.clearBrowserCookies")
        window.open(f"{url}{path}")
        see(window, there)
        if view == "job":
            window.call(PRESS, ".grid", "Enter")
            see(window, ".return h2", "minion-1")
        if view == "live":
            window.call(PRESS, ".grid", "ArrowRight")
            see(window, ".states li", "app config")
        window.screenshot(ARTIFACTS / f"ui-{view}-{scheme}-{width}.png")
        found = window.call(f"async () => {{ {axe}; const found = await axe.run(); {AXE_FOUND} }}")
        assert found["violations"] == [], json.dumps(found, indent=1)
        assert {"color-contrast", "document-title"} <= {*found["passes"]}
        assert window.call(WIDTH) <= width
    window.devtools("Emulation.clearDeviceMetricsOverride")


@pytest.mark.slow
def test_how_long_a_page_shows_nothing_is_measured(fake: Api, listens: Listens, window: Browser) -> None:
    jid, url = post(fake, fun="test.echo", arg=["hi"]).json()["jid"], listens(fake)
    log_in(window, url, fake.demo)
    lines = []
    for view, path, there in (("/ui/", "/ui/", "table td"), ("a job", f"/v1/jobs/{jid}", ".cell")):
        first, largest = zip(*(paints(window, url + path, there) for _ in range(PAINTINGS)), strict=True)
        lines.append(f"{view}: first paint {median(first):.0f} ms (at most {max(first):.0f}), largest {median(largest):.0f} ms (at most {max(largest):.0f})\n")
        assert min(first) > 0
    ARTIFACTS.mkdir(exist_ok=True)
    (ARTIFACTS / "ui-first-paint.txt").write_text("".join(lines))


@pytest.mark.slow
def test_of_thousands_of_minions_only_those_that_can_be_seen_are_there(fake: Api, listens: Listens, window: Browser) -> None:
    log_in(window, listens(fake), fake.demo, "/ui/help")
    cells, longest = window.call(MANY, "", 2000)

    print(f"an update of 2,000 minions took at most {longest:.1f} ms")
    assert 0 < cells < 1200
    rows, longest = window.call(MANY_STATES, 2000)
    print(f"a state of each of 2,000 minions took at most {longest:.1f} ms")
    assert rows == 5


def test_the_page_knows_every_status(tmp_path: Path) -> None:
    jobs, job, style = ((FILES / name).read_text(encoding="utf-8") for name in ("jobs-view.js", "job-view.js", "style.css"))

    assert {*named(jobs, r"const STATUSES = \[(.*?)\]")} == {*get_args(JobStatus)}
    assert {*named(job, r"const OPEN = new Set\(\[(.*?)\]")} == OPEN
    coloured = {*re.findall(r"\.([a-z_]+)[ ,{]", "".join(line for line in style.splitlines() if line.startswith(".") and "{ color: var(" in line))}
    assert {*get_args(JobStatus), *get_args(MinionStatus)} <= coloured


def named(script: str, pattern: str) -> list[str]:
    """Return the texts in a list of a script."""
    (found,) = re.findall(pattern, script)
    return re.findall(r'"(\w+)"', found)


def test_every_view_that_is_served_is_one_of_the_pages(tmp_path: Path) -> None:
    script = (FILES / "app.js").read_text(encoding="utf-8")

    assert set(re.findall(r"\\/ui\\/(\w+)\$", script)) == VIEWS - {""}
