"""Images that stand in for a registry's: Python bases and fresh machines out of Debian's archive; Prometheus, Alertmanager, nginx, PostgreSQL and more on a base."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.engine import Engine
from tests.e2e.kept import kept, mark_of
from tests.e2e.shell import run

HERE = Path(__file__).parent
BASE = "standin/python:3.13-slim-trixie"
# The other stand-ins are on it: Debian 13's systemd does not boot on a machine with the first version of cgroups.
OLDER_BASE = "standin/python:3.11-slim-bookworm"
SUITES = {BASE: "trixie", OLDER_BASE: "bookworm"}
PROMETHEUS = "standin/prometheus:debian"
ALERTMANAGER = "standin/alertmanager:debian"
NGINX = "standin/nginx:debian"
POSTGRES = "standin/postgres:debian"
SLAPD = "standin/slapd:debian"
SYSTEMD = "standin/systemd:debian"
REGISTRY = "standin/registry:debian"
PACKAGES = ("ca-certificates", "python3", "python3-venv")
NEWCOMER, NEWCOMER_UID = "newcomer", 1000
AUTHORITIES = Path("/usr/local/share/ca-certificates")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
WASTE = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


def base(engine: Engine, tag: str) -> str:
    """Have a base image in the engine; return where it came from."""
    tar, found = _root(engine, f"base-{SUITES[tag]}", *_recipe_of(tag))
    _import(engine, tar, tag, 'CMD ["python3"]')
    return "cached" if found else "from Debian's archive"


def _recipe_of(tag: str) -> tuple[str, Sequence[str], str]:
    """Return the suite of a base image, its packages, and the last command in it."""
    return SUITES[tag], PACKAGES, "ln -s python3 /usr/bin/python"


def debian(engine: Engine, suite: str, packages: Sequence[str]) -> None:
    """Have an image of a Debian with these packages and a user who is not root."""
    tar, _ = _root(engine, f"fresh-{suite}", suite, packages, f"useradd --create-home --uid {NEWCOMER_UID} {NEWCOMER}")
    _import(engine, tar, fresh_tag(suite))


def fresh_tag(suite: str) -> str:
    return f"standin/fresh:{suite}"


def others(engine: Engine) -> str:
    """Have the images of Prometheus, Alertmanager, nginx, PostgreSQL, slapd, systemd and a registry in the engine; return where they came from."""
    images = (PROMETHEUS, ALERTMANAGER, NGINX, POSTGRES, SLAPD, SYSTEMD, REGISTRY)

    def make(part: Path) -> None:
        for tag in images:
            target = tag.removeprefix("standin/").removesuffix(":debian")
            engine.docker("build", "--build-arg", f"BASE={OLDER_BASE}", "--target", target, "--tag", tag, HERE / "standins", timeout=300)
        engine.docker("save", "--output", part, *images)

    recipes = ((HERE / "standins" / name).read_bytes() for name in ("Dockerfile", "postgres"))
    tar, found = kept("others", mark_of(_mark(*_recipe_of(OLDER_BASE)), *images, *recipes), make)
    if found:
        engine.docker("load", "--input", tar)
    return "cached" if found else "from Debian's archive"


def _import(engine: Engine, tar: Path, tag: str, *changes: str) -> None:
    """Make an image of a file system."""
    # A machine may have an authority of its own in front of the package index; pip and uv inside have to know it.
    environ = ("PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", f"SSL_CERT_FILE={BUNDLE}", f"PIP_CERT={BUNDLE}")
    changes = (*(f"ENV {setting}" for setting in environ), *changes)
    engine.docker("import", *(word for change in changes for word in ("--change", change)), tar, tag)


def _root(engine: Engine, kind: str, suite: str, packages: Sequence[str], finish: str) -> tuple[Path, bool]:
    """Return the file system of a Debian, as a tar, and whether it was kept."""
    return kept(kind, _mark(suite, packages, finish), lambda part: _bootstrap(engine.work / f"rootfs-{kind}", part, suite, packages, finish))


def _bootstrap(root: Path, tar: Path, suite: str, packages: Sequence[str], finish: str) -> None:
    """Make a file system of a Debian with these packages. finish: a last command in it."""
    run("debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, root, timeout=900)
    for authority in AUTHORITIES.glob("*.crt"):
        shutil.copy(authority, root / AUTHORITIES.relative_to("/"))
    run("chroot", root, "sh", "-ec", f"update-ca-certificates; {finish}", timeout=120)
    for folder in WASTE:
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)
    run("tar", "--directory", root, "--numeric-owner", "--create", "--file", tar, ".", timeout=300)
    shutil.rmtree(root)


def _mark(suite: str, packages: Sequence[str], finish: str) -> str:
    """Return what changes with all that makes a file system: how that is done, what goes in, and this machine's authorities."""
    authorities = (path.read_bytes() for path in sorted(AUTHORITIES.glob("*.crt")))
    return mark_of(inspect.getsource(_bootstrap), suite, *packages, finish, *WASTE, *authorities)
