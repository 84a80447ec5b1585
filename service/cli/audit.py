"""`salt-sidecar audit-hash` and `audit-verify`: look for a value in the audit trail, and follow its hash chain."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from service.audit.chain import Verifier
from service.audit.hashing import HmacKey, key_of
from service.errors import ConfigFault, InvalidConfiguration
from service.secrets.secret_file import SecretFile
from service.settings.sources import load


def hash_value(args: argparse.Namespace) -> int:
    """Print the HMAC of a value; 78 if there is no key to make it with."""
    try:
        key = _key(args.key_file, args.environ)
    except InvalidConfiguration as exc:
        for fault in exc.faults:
            print(f"FAULT  {fault}", file=sys.stderr)
        return os.EX_CONFIG
    value = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").removesuffix("\n") if args.value == "-" else args.value
    print(key.of_text(value))
    return 0


def verify(args: argparse.Namespace) -> int:
    """Say where the chain breaks first, or that it does not."""
    verifier = Verifier()
    for name in args.files:
        try:
            with sys.stdin.buffer if name == "-" else Path(name).open("rb") as file:
                broken = _first_break(verifier, file)
        except OSError as exc:
            print(f"{name}: {exc.strerror}")
            return 1
        if broken:
            print(f"{name}: line {broken}")
            return 1
    print(f"{verifier.lines} lines, no break{verifier.extent}")
    return 0


def _first_break(verifier: Verifier, file: BinaryIO) -> str | None:
    lines: Iterable[bytes] = file
    for number, line in enumerate(lines, 1):
        wrong = verifier.take(line.removesuffix(b"\n"))
        if wrong:
            return f"{number} {wrong}"
    return None


def _key(path: Path | None, environ: Mapping[str, str]) -> HmacKey:
    setting = "--key-file" if path else "audit.hmac_key_file"
    path = path or load(environ).audit.hmac_key_file
    if path is None:
        raise InvalidConfiguration([ConfigFault(setting, "no key is set", "set it as for the sidecar, or name one with --key-file")])
    return SecretFile(path, setting, key_of).value()
