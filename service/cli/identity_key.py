"""`salt-sidecar identity-key` and `install-eauth`: what the sidecar and the master need so that accounts are logged in without a password."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from pathlib import Path

from service.identities.assertion import MODULE, SECTION, make_key, public_text

TOLD = """# For the master's configuration. While a key is replaced both are listed here; restart the master after a change.
{section}:
  audience: {audience}
  keys:"""


def key(args: argparse.Namespace) -> int:
    """Make the key pairs that are not there, and print what the master has to know of them; 73 if that cannot be."""
    lines = [TOLD.format(section=SECTION, audience=args.audience)]
    for file in args.files:
        try:
            public = public_text(make_key(file))
        except (OSError, ValueError) as exc:
            return _failed(file, exc)
        lines.append(f"    key-{hashlib.sha256(public.encode()).hexdigest()[:8]}: {public}")
    print("\n".join(lines))
    return 0


def install(args: argparse.Namespace) -> int:
    """Write the master's eauth module into a folder; 73 if that cannot be."""
    try:
        args.folder.mkdir(parents=True, exist_ok=True)
        # The master may load it at any time: never half of it.
        half = args.folder / f".{MODULE.name}.{os.getpid()}"
        shutil.copyfile(MODULE, half)
        half.replace(args.folder / MODULE.name)
    except OSError as exc:
        return _failed(args.folder, exc)
    print(
        f"# {MODULE.name} is installed. For the master's configuration, unless the folder is `auth` below its `extension_modules`:\nauth_dirs:\n  - {args.folder}"
    )
    return 0


def _failed(path: Path, exc: OSError | ValueError) -> int:
    print(f"{path}: {exc.strerror if isinstance(exc, OSError) and exc.strerror else exc}", file=sys.stderr)
    return os.EX_CANTCREAT
