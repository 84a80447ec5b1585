"""Finds what is wrong with the files that the audit settings name, before the process starts; creates none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from service.audit.hashing import key_of
from service.errors import ConfigFault
from service.secrets.secret_file import SecretFile
from service.settings.audit_settings import AuditSettings


def audit_faults(settings: AuditSettings) -> list[ConfigFault]:
    """Return every fault; none while there are no sinks."""
    if not settings.sinks:
        return []
    file = _file_fault(settings.file) if "file" in settings.sinks and settings.file else None
    return ([file] if file else []) + key_faults(settings)


def key_faults(settings: AuditSettings) -> list[ConfigFault]:
    """Return what is wrong with the key's file."""
    if settings.hmac_key_file is None or not settings.sinks:
        return []
    return SecretFile(settings.hmac_key_file, "audit.hmac_key_file", key_of).faults()


def _file_fault(path: Path) -> ConfigFault | None:
    folder = path.parent
    if not folder.is_dir():
        return ConfigFault("audit.file", f"{folder} is no folder", f"make it, owned by uid {os.getuid()}, or correct the path")
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if os.access(folder, os.W_OK | os.X_OK):
            return None
        return ConfigFault("audit.file", f"uid {os.getuid()} may not make files in {folder}", "give it that right, or name another folder")
    except OSError as exc:
        return ConfigFault("audit.file", f"{path}: {exc.strerror}", "correct the path or its rights")
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
        return ConfigFault("audit.file", f"{path} is no file", "name a file; it is made if it does not exist")
    if not os.access(path, os.R_OK | os.W_OK):
        return ConfigFault("audit.file", f"uid {os.getuid()} may not read and write {path}", f"give the file to uid {os.getuid()}, mode 0600")
    return None
