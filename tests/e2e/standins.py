"""Images that stand in for a registry's: a Python base out of Debian's archive, and Prometheus, nginx and an LDAP server on top of it."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from tests.e2e.engine import Engine
from tests.e2e.shell import run

HERE = Path(__file__).parent
BASE = "standin/python:3.11-slim-bookworm"
PROMETHEUS = "standin/prometheus:debian"
NGINX = "standin/nginx:debian"
SLAPD = "standin/slapd:debian"
DEBIAN = "bookworm"
PACKAGES = "ca-certificates,python3,python3-venv"
AUTHORITIES = Path("/usr/local/share/ca-certificates")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
WASTE = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


def cache() -> Path:
    """Return the folder that outlives a run; it is never part of the tree."""
    named = os.environ.get("E2E_CACHE")
    folder = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "salt-sidecar" / "e2e"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def base(engine: Engine) -> str:
    """Have the base image in the engine; return where it came from."""
    tar = cache() / f"base-{_mark(Path(__file__))}.tar"
    cached = tar.exists()
    if not cached:
        _bootstrap(engine.work / "rootfs", tar)
    changes = ["ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "ENV LANG=C.UTF-8"]
    # A machine may have an authority of its own in front of the package index; pip inside the build has to know it.
    changes += [f"ENV SSL_CERT_FILE={BUNDLE}", f"ENV PIP_CERT={BUNDLE}", 'CMD ["python3"]']
    engine.docker("import", *(word for change in changes for word in ("--change", change)), tar, BASE)
    return "cached" if cached else "from Debian's archive"


def others(engine: Engine) -> str:
    """Have the images of Prometheus, nginx and slapd in the engine; return where they came from."""
    tar = cache() / f"others-{_mark(Path(__file__), HERE / 'standins' / 'Dockerfile')}.tar"
    if tar.exists():
        engine.docker("load", "--input", tar)
        return "cached"
    for target, tag in (("prometheus", PROMETHEUS), ("nginx", NGINX), ("slapd", SLAPD)):
        engine.docker("build", "--build-arg", f"BASE={BASE}", "--target", target, "--tag", tag, HERE / "standins", timeout=300)
    engine.docker("save", "--output", f"{tar}.part", PROMETHEUS, NGINX, SLAPD)
    Path(f"{tar}.part").rename(tar)
    return "from Debian's archive"


def _bootstrap(root: Path, tar: Path) -> None:
    run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", DEBIAN, root, timeout=600)
    for authority in AUTHORITIES.glob("*.crt"):
        shutil.copy(authority, root / AUTHORITIES.relative_to("/"))
    run("chroot", root, "update-ca-certificates", timeout=120)
    for folder in WASTE:
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)
    (root / "usr/bin/python").symlink_to("python3")
    part = tar.with_suffix(".part")
    run("tar", "--directory", root, "--numeric-owner", "--create", "--file", part, ".", timeout=300)
    part.rename(tar)
    shutil.rmtree(root)


def _mark(*recipes: Path) -> str:
    """Return what changes with the recipes and with the authorities that go into the image."""
    parts = [path.read_bytes() for path in (*recipes, *sorted(AUTHORITIES.glob("*.crt")))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]
