"""`salt-sidecar audit-hash` and `audit-verify`: what they print, and with which status they end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from service.audit.hashing import HmacKey
from service.audit.sinks import FileSink
from service.cli import main

SECRET = "a key of sixteen or more"


@pytest.mark.costly
def test_audit_hash_prints_what_the_trail_has_for_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    key, config = tmp_path / "key", tmp_path / "sidecar.yaml"
    key.write_text(SECRET + "\n")
    config.write_text(f"audit: {{hmac_key_file: {key}}}")
    monkeypatch.setenv("SIDECAR_CONFIG", str(config))
    expected = HmacKey(SECRET.encode()).of("nginx") + "\n"

    for stdin, argv in ((b"", ["nginx"]), (b"nginx\n", ["-"]), (b"nginx", ["-", "--key-file", str(key)]), (b"", ["nginx", "--config", str(config)])):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        assert main(["audit-hash", *argv]) == 0
        assert capsys.readouterr().out == expected

    for wrong in (["--key-file", str(tmp_path / "none")], ["--config", str(tmp_path / "none")]):
        assert main(["audit-hash", "nginx", *wrong]) == 78
        assert "Fix:" in capsys.readouterr().err
    config.write_text("{}")
    assert main(["audit-hash", "nginx"]) == 78
    assert "audit.hmac_key_file: no key is set" in capsys.readouterr().err


@pytest.mark.costly
def test_audit_verify_says_where_the_chain_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "audit.jsonl"
    sink = FileSink(path, chained=True, fsync=False)
    sink.write([b'{"n":1}', b'{"n":2}'])
    old = str(path.rename(tmp_path / "audit.jsonl.1"))
    sink.write([b'{"n":3}'])

    assert main(["audit-verify", old, str(path)]) == 0
    assert capsys.readouterr().out.startswith("3 lines, no break, numbers 1 to 3, last hash ")
    assert main(["audit-verify", str(path), old]) == 1
    assert f"{old}: line 1 " in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x\n")))
    assert main(["audit-verify", "-"]) == 1
    assert capsys.readouterr().out == "-: line 1 is no complete record of a chain\n"
    assert main(["audit-verify", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().out
