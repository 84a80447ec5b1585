"""Assertions: what the sidecar signs the master's module takes, and nothing else."""

from __future__ import annotations

import logging
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.cli import main
from service.errors import InvalidConfiguration
from service.identities.assertion import MODULE, AssertionSigner, make_key, public_text
from tests.unit.identities.assertions import ACCOUNT, MasterSide, encoded, told


def now() -> int:
    """Return the time; of a run that goes on for long that of its beginning would be the past."""
    return int(time.time())


@pytest.fixture
def master(tmp_path: Path) -> MasterSide:
    return MasterSide(tmp_path)


def test_the_master_takes_what_the_sidecar_signs_and_its_groups(master: MasterSide) -> None:
    credentials = AssertionSigner(master.key_file, master.opts).credentials(ACCOUNT, ["deployers"])

    assert (credentials["eauth"], credentials["username"]) == ("sidecar", ACCOUNT)
    assert master.lets_in(credentials["password"])
    assert master.groups(credentials["password"]) == ["deployers"]


def test_a_second_use_within_its_minute_gives_the_same_account_and_later_none(master: MasterSide) -> None:
    """Workers of a master share no memory, so a short life, the account and the audience are what bounds a replay."""
    password = AssertionSigner(master.key_file, master.opts).credentials(ACCOUNT)["password"]
    late = AssertionSigner(master.key_file, master.opts, time_of_day=lambda: time.time() - 60).credentials(ACCOUNT)["password"]

    assert [master.lets_in(password) for _ in range(2)] == [True, True]
    assert not master.lets_in(password, "admin")
    assert not master.lets_in(late)


ATTACKS: dict[str, Callable[[MasterSide], Any]] = {
    "another key": lambda master: master.forged(key=Ed25519PrivateKey.generate()),
    "a key that the master does not know": lambda master: master.forged({"kid": "key-9"}),
    "no key id": lambda master: master.forged({"kid": None}),
    "a key id that is a list": lambda master: master.forged({"kid": ["key-0"]}),
    "alg none": lambda master: master.forged({"alg": "none"}),
    "alg none without a signature": lambda master: master.forged({"alg": "none"}).rpartition(".")[0] + ".",
    "another alg": lambda master: master.forged({"alg": "HS256"}),
    "for another account": lambda master: master.forged(sub="admin"),
    "for no account": lambda master: master.forged(sub=None),
    "for another master": lambda master: master.forged(aud="other-master"),
    "for several masters": lambda master: master.forged(aud=["salt-master", "other-master"]),
    "for no master": lambda master: master.forged(aud=None),
    "expired": lambda master: master.forged(iat=now() - 100, exp=now() - 40),
    "from the future": lambda master: master.forged(iat=now() + 120, exp=now() + 150),
    "a life of two minutes": lambda master: master.forged(iat=now(), exp=now() + 120),
    "without an end": lambda master: master.forged(exp=None),
    "an end that is text": lambda master: master.forged(exp="9999999999"),
    "an end that is infinite": lambda master: master.forged(exp=float("inf")),
    "an end that is no number": lambda master: master.forged(exp=float("nan")),
    "a payload of another": lambda master: master.forged().replace(".", "." + encoded(b"{}") + ".", 1),
    "claims that are a list": lambda master: encoded(b"{}") + "." + encoded(b"[]") + "." + encoded(b"x"),
    "garbage": lambda _: "a.b.c",
    "not even three parts": lambda _: "secret",
    "huge": lambda _: "A" * 10_000_000,
    "empty": lambda _: "",
    "no text": lambda _: 5,
    "bytes": lambda master: master.forged().encode(),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_master_refuses(master: MasterSide, attack: str, caplog: pytest.LogCaptureFixture) -> None:
    assert master.lets_in(master.forged())
    forged = ATTACKS[attack](master)

    with caplog.at_level(logging.INFO):
        assert not master.lets_in(forged)
    assert master.groups(forged) == []
    (said,) = caplog.messages
    assert "refused" in said
    assert len(said) < 200
    assert not (isinstance(forged, str) and len(forged) > 10 and forged[-60:] in said)


def test_two_keys_are_good_while_one_takes_the_others_place(master: MasterSide, tmp_path: Path) -> None:
    new = make_key(tmp_path / "new.pem")
    both = told(master.key, new)
    master.opts.update(both)

    signers = [AssertionSigner(file, both) for file in (master.key_file, tmp_path / "new.pem")]
    assert all(master.lets_in(signer.credentials(ACCOUNT)["password"]) for signer in signers)
    master.opts.update(told(new))
    assert not master.lets_in(signers[0].credentials(ACCOUNT)["password"])


@pytest.mark.parametrize("section", [None, "text", [], {}, {"audience": 5}, {"audience": "m", "keys": []}, {"audience": "m", "keys": {"key-0": "other"}}])
def test_a_master_that_is_not_told_of_the_key_is_a_fault(master: MasterSide, section: object) -> None:
    (fault,) = AssertionSigner(master.key_file, {"sidecar_assertion": section}).faults()

    assert fault.where.startswith("sidecar_assertion.")
    assert "salt-sidecar identity-key" in fault.fix


def test_a_file_that_is_no_key_of_ours_is_a_fault_that_shows_nothing_of_it(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key").write_bytes(pem)

    with pytest.raises(InvalidConfiguration) as caught:
        AssertionSigner(tmp_path / "key", {}).credentials(ACCOUNT)
    assert "is no key of Ed25519" in str(caught.value)
    (tmp_path / "key").write_text("CANARY")
    assert "CANARY" not in str(AssertionSigner(tmp_path / "key", {}).faults()[0])


def test_the_key_is_made_once_for_its_owner_alone_and_printed_as_the_master_needs_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "identity.pem"

    assert [main(["identity-key", str(file), "--audience", "salt-1"]) for _ in range(2)] == [0, 0]
    first, second = capsys.readouterr().out.split("# For the master's")[1:]
    assert first == second
    assert "audience: salt-1" in first
    assert public_text(make_key(file)) in first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "PRIVATE" not in first


def test_the_key_that_will_follow_is_printed_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "identity.pem", tmp_path / "next.pem"]

    assert main(["identity-key", *map(str, files)]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert [*printed["sidecar_assertion"]["keys"].values()] == [public_text(make_key(file)) for file in files]
    assert not AssertionSigner(files[1], printed).faults()


def test_what_is_no_key_is_neither_used_nor_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").write_text("something else")

    assert main(["identity-key", str(tmp_path / "other")]) == 73
    assert "no private key" in capsys.readouterr().err
    assert (tmp_path / "other").read_text() == "something else"
    assert main(["identity-key", str(tmp_path / "no" / "folder")]) == 73


def test_the_module_is_installed_again_over_an_older_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "auth"

    for _ in range(2):
        assert main(["install-eauth", str(folder)]) == 0
        assert [file.read_bytes() for file in folder.iterdir()] == [MODULE.read_bytes()]
        (folder / "sidecar.py").write_text("older")
    assert f"auth_dirs:\n  - {folder}" in capsys.readouterr().out
    assert main(["install-eauth", "/proc/nowhere"]) == 73
