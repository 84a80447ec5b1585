"""`salt-sidecar health` against an ops listener."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.cli import main
from service.server.intake import Patience
from service.server.listener import Listener

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

NOT_READY = {"status": "not ready", "checks": {"process": {"ok": True, "reason": "serving"}, "master": {"ok": False, "reason": "127.0.0.1:4506: refused"}}}


@pytest.fixture
def port(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        alive = environ["PATH_INFO"] == "/livez"
        start_response("200 OK" if alive else "503 Service Unavailable", [("Content-Type", "application/json")])
        return [json.dumps({"status": "alive"} if alive else NOT_READY).encode()]

    limits = {"threads": 2, "connection_limit": 10, "body_limit_bytes": 1024, "patience": Patience(5.0)}
    listener = Listener(app, name="ops", host="127.0.0.1", port=0, **limits)  # type: ignore[arg-type]
    listener.start()
    # A listener for all addresses is asked on loopback.
    monkeypatch.setenv("SIDECAR_OPS_HOST", "0.0.0.0")
    yield listener.port
    listener.stop()


def test_alive_is_exit_code_0_and_not_ready_is_1_with_the_failing_check(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    codes = [main(["health", "--ops-port", str(port)]), main(["health", "--ops-port", str(port), "--ready"])]

    assert codes == [0, 1]
    assert capsys.readouterr().out.splitlines() == [
        f"well: http://127.0.0.1:{port}/livez answers 200",
        f"not well: http://127.0.0.1:{port}/readyz answers 503; master: 127.0.0.1:4506: refused",
    ]


def test_nobody_there_and_a_wrong_setting_are_one_line_each(port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [main(["health", "--ops-port", "1"])]
    monkeypatch.setenv("SIDECAR_OPS_PROT", "1")
    codes.append(main(["health"]))

    lines = capsys.readouterr().out.splitlines()
    assert codes == [1, 1]
    assert "http://127.0.0.1:1/livez (Connection refused)" in lines[0]
    assert lines[1].startswith("not well: SIDECAR_OPS_PROT: no such option.")
    assert len(lines) == 2


def test_it_needs_nothing_but_the_standard_library(port: int, tmp_path: Path) -> None:
    settings = tmp_path / "sidecar.yaml"
    settings.write_text(f"log:\n  level: debug\nops:\n  host: 0.0.0.0\n  port: {port}\n", encoding="utf-8")
    # -S: no package that was installed can be found.
    argv = [sys.executable, "-S", "-m", "service", "health", "--config", str(settings)]

    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(ROOT)})

    assert (done.returncode, done.stdout, done.stderr) == (0, f"well: http://127.0.0.1:{port}/livez answers 200\n", "")
