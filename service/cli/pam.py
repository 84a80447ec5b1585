"""What `salt-sidecar check` says of eauth `pam`: whether the master's user may ask PAM, and whether the Python that Salt starts for it can."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from service.errors import ConfigFault

WHERE = "external_auth.pam"
SECONDS = 10.0
SHADOW = Path("/etc/shadow")
SYSTEM_PYTHON = Path("/usr/bin/python3")
# Salt's own packages bring this one, and Salt 3008 takes it there.
PACKAGED_PYTHON = Path("/opt/saltstack/salt/bin/python3")
# What Salt would run, up to where it would ask for the password.
LOAD = "import runpy, sys; sys.exit(not runpy.run_path(sys.argv[1])['__virtual__']())"


def pam_notes(raw: Mapping[str, Any], environ: Mapping[str, str], *, shadow: Path = SHADOW, seconds: float = SECONDS) -> list[ConfigFault]:
    """
    Return what would let PAM refuse everybody, as far as it can be seen from here; nothing without `pam` in `external_auth`.

    shadow: the file of passwords. seconds: longest wait for the Python that Salt starts.
    """
    eauths = raw.get("external_auth")
    if not isinstance(eauths, Mapping) or "pam" not in eauths:
        return []
    return [*_user_notes(str(raw.get("user") or "root"), shadow), *_python_notes(python_of(raw), environ, seconds)]


def python_of(raw: Mapping[str, Any]) -> Path:
    """
    Return the Python that Salt starts to ask PAM, without the environment around it: Salt follows the link that `bin/python` of a venv is.

    Source: salt/auth/pam.py, authenticate; 3006 and 3007 know only the option and the system's.
    """
    known = (PACKAGED_PYTHON, SYSTEM_PYTHON, Path(sys.executable))
    return Path(str(raw.get("auth.pam.python") or next(python for python in known if python.exists()))).resolve()


def _user_notes(user: str, shadow: Path) -> Iterator[ConfigFault]:
    if not _may_read_shadow(user, shadow):
        problem = f"the master seems to run as `{user}`, and PAM does not check other users' passwords for that user"
        fix = f"run the master as root, or on Debian and Ubuntu add `{user}` to the group `shadow`, or take another eauth module: docs/eauth.md"
        yield ConfigFault(WHERE, problem, fix)


def _may_read_shadow(user: str, shadow: Path) -> bool:
    """Say whether a user is root, or in the group that may read the passwords."""
    try:
        account, passwords = pwd.getpwnam(user), shadow.stat()
    except (KeyError, OSError):
        return user == "root"
    groups = os.getgrouplist(user, account.pw_gid)
    return account.pw_uid == 0 or bool(passwords.st_mode & 0o040 and passwords.st_gid in groups)


def _python_notes(python: Path, environ: Mapping[str, str], seconds: float) -> Iterator[ConfigFault]:
    from service.gateway.master.options import SALT_FOLDER  # noqa: PLC0415 - it imports Salt

    try:
        # In no folder of the caller's: Python would find a `salt` there.
        tried = subprocess.run(
            [python, "-c", LOAD, SALT_FOLDER / "auth" / "pam.py"],
            env=environ,
            cwd="/",
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        why = f"gave no answer in {seconds:g} s" if isinstance(exc, subprocess.TimeoutExpired) else f"cannot be run ({exc.strerror})"
        yield ConfigFault(WHERE, f"{python}, which Salt starts to ask PAM, {why}", "name another in the master's option `auth.pam.python`: docs/eauth.md")
        return
    if tried.returncode:
        why = (tried.stderr.strip().splitlines() or ["libc or libpam is not there"])[-1]
        fix = f"start the master with the folder of its Salt, here {SALT_FOLDER.parent}, in PYTHONPATH; whether it is cannot be seen from here: docs/eauth.md"
        yield ConfigFault(WHERE, f"{python}, which Salt starts to ask PAM, cannot do it in this command's environment ({why[:200]})", fix)
