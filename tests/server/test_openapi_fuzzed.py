"""A running sidecar is held to its own OpenAPI document by schemathesis, from requests that the document allows and from such as it forbids."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.server.listener import Listener
from tests.contract.conftest import Api, a_store, fake_api, login
from tests.server.conftest import Listen

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".venv-openapi" / "bin"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"
# A stream of events never ends, a logout ends everybody's session, and 501 is what the websockets' URLs are for.
LEFT_OUT = r"^/(events|logout|ws|all_events|formatted_events)(/|$)"
EXAMPLES = 20
# Of bodies that are made up, with steps or without, few begin a job that leads anywhere.
STATEFUL_EXAMPLES = 40
# There are thousands; so few would mean that it has not understood the document.
MOST_TRIVIAL = 1000


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = fake_api(tmp_path, **a_store(tmp_path))
    yield made
    made.process.stop()


def program(name: str) -> str:
    if not (BIN / name).exists():
        missing = f"{name} is not installed: make clients"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return str(BIN / name)


def ran(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500, check=False)


def test_the_document_is_openapi(api: Api, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_bytes(api.caller.get("/openapi.json").body)

    ended = ran(tmp_path, program("openapi-spec-validator"), str(document))

    assert ended.returncode == 0, ended.stdout + ended.stderr


def fuzzed(folder: Path, listener: Listener, token: str, phases: str, config: str, examples: int = EXAMPLES) -> str:
    """Run schemathesis; return what it says. Fails if the sidecar did what its document does not say."""
    (folder / "schemathesis.toml").write_text(config)
    url = f"http://127.0.0.1:{listener.port}/openapi.json"
    asked = ["--checks", CHECKS, "--phases", phases, "--max-examples", str(examples), "--generation-deterministic", "--no-color"]
    ended = ran(folder, program("schemathesis"), "run", url, "-H", f"X-Auth-Token: {token}", "--exclude-path-regex", LEFT_OUT, *asked)

    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr
    return ended.stdout


def lacking(said: str) -> set[str]:
    """Return the operations whose every answer, or nearly, was that there is no such thing."""
    _, _, told = said.partition("\nMissing test data")
    return set(re.findall(r"^  - ([A-Z]+ /\S*)$", told.partition("\U0001f4a1")[0], re.MULTILINE))


def test_a_running_sidecar_does_what_its_document_says(api: Api, tmp_path: Path, listen: Listen) -> None:
    token = login(api, api.demo)
    job = api.caller.post({"tgt": "*", "fun": "test.ping"}, "/v1/jobs?wait=30", x_auth_token=token).json()
    # Of names that are made up there is nothing.
    scoped = api.caller.post({"scope": ["local:test.ping"]}, "/v1/tokens", x_auth_token=token).json()
    known = {"path.tid": scoped["id"], "path.jid": job["jid"], "path.mid": "minion-1", "path.name": "start.js"}
    config = "[parameters]\n" + "".join(f"{json.dumps(name)} = {json.dumps(value)}\n" for name, value in known.items())
    config += '[[operations]]\ninclude-name = "GET /ui/{name}"\nparameters = { "path.name" = "app.js" }\n'
    said = fuzzed(tmp_path, listen(app=api.process.api, threads=4, body_limit_bytes=1_000_000), token, "coverage,fuzzing", config)

    (generated,) = re.findall(r"(\d+) generated", said)
    assert int(generated) > MOST_TRIVIAL
    # What the first request has ended is not there for the next.
    assert lacking(said) <= {"DELETE /v1/tokens/{tid}"}, said[-5000:]


def test_what_a_job_is_answered_with_leads_to_all_that_can_be_done_with_it(api: Api, tmp_path: Path, listen: Listen) -> None:
    # Of links that it infers itself schemathesis would begin elsewhere.
    config = "[phases.stateful.inference]\nalgorithms = []\n"
    said = fuzzed(tmp_path, listen(app=api.process.api, threads=4, body_limit_bytes=1_000_000), login(api, api.demo), "stateful", config, STATEFUL_EXAMPLES)

    # Which ones it follows is chance, even when it makes up the same requests each time; tests/contract/test_links.py follows them all.
    (covered,) = re.findall(r"(\d+) covered", said)
    assert int(covered) > 0, said[-5000:]
