"""`/docs`: Swagger UI as npm has it, with nothing from elsewhere and no script of the page's own. In a real browser: tests/compat/test_browser.py."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from service.api.pages.docs_page import FILES
from tests.contract.conftest import fake_api

# Of swagger-ui-dist 5.35.0, whose archive has the `integrity` sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==.
FROM_NPM = {
    "LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    "NOTICE": "0d20d1adef18aee3f40dd258172155521ce702ac445cb5f7b7d60ed32dad2fb2",
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui-bundle.js.LICENSE.txt": "37eb6e7e59aed57b2c1acf076574b818ea07b74265717e0bd67b59e0baf9abbb",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
TYPES = {"js": "text/javascript", "css": "text/css", "json": "application/json"}


def test_its_files_are_npms_and_one_of_ours() -> None:
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in FILES.iterdir()}

    assert found.pop("start.js")
    assert found == FROM_NPM


@pytest.mark.parametrize("prefix", ["", "/salt"])
def test_all_that_the_page_loads_is_served_here(tmp_path: Path, prefix: str) -> None:
    caller = fake_api(tmp_path, SIDECAR_API_ROOT_PREFIX=prefix).caller
    page = caller.get(f"{prefix}/docs", accept="text/html")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())

    assert (page.status, page.headers["content-type"]) == (200, "text/html;charset=utf-8")
    assert len(loaded) == 5
    for url in set(loaded) - {"data:,"}:
        answer = caller.get(url)
        assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, TYPES[url.rpartition(".")[2]]), url
        assert url.startswith(f"{prefix}/docs/") or url == f"{prefix}/openapi.json"


@pytest.mark.parametrize("url", ["/docs", "/docs/swagger-ui-bundle.js"])
def test_nothing_but_our_own_files_may_run(tmp_path: Path, url: str) -> None:
    answer = fake_api(tmp_path).caller.get(url)
    policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))

    assert (policy["default-src"], policy["script-src"], policy["connect-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'self'", "'none'")
    assert not any("unsafe" in value or "http" in value for value in policy.values())


def test_the_page_has_no_script_inside(tmp_path: Path) -> None:
    page = fake_api(tmp_path).caller.get("/docs").body.decode()

    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == ["", ""]
    assert "style=" not in page


@pytest.mark.parametrize("name", ["nothing.js", "..%2fdocument.py", "../document.py", ".hidden"])
def test_no_other_file_is_shown(tmp_path: Path, name: str) -> None:
    assert fake_api(tmp_path).caller.get(f"/docs/{name}").status == 404
