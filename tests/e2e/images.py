"""Builds our two images, and says what is in them."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from pathlib import Path
from typing import Any

from service import __version__
from tests.e2e import registry, standins
from tests.e2e.engine import Engine
from tests.e2e.report import Report
from tests.e2e.shell import eventually, require, run

ROOT = Path(__file__).parents[2]
RELEASE = re.findall(r"^salt==(\S+)", (ROOT / "requirements" / "runtime-3008.txt").read_text(), re.MULTILINE)[0]
SIDECAR = f"salt-sidecar:{__version__}-salt{RELEASE}"
SALT = f"salt:{__version__}-salt{RELEASE}"
SOURCE_URL = "https://git.example.org/salt-sidecar"
HADOLINT = ROOT / ".venv-e2e" / "bin" / "hadolint"
# Alone in an empty network: it starts without a master, which is what is measured.
BARE = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none", "--tmpfs=/tmp")


@dataclasses.dataclass(frozen=True)
class Image:
    """What `docker image inspect` says."""

    name: str
    facts: dict[str, Any]

    def __str__(self) -> str:
        config = self.facts["Config"]
        layers = len(self.facts["RootFS"]["Layers"])
        return f"{self.facts['Size'] / 1e6:.0f} MB, {layers} layers, user {config['User']}, Salt {config['Labels']['salt.version']}"


def lint(report: Report) -> None:
    """Run hadolint over every Dockerfile."""
    for path in (ROOT / "Dockerfile", *sorted((standins.HERE / "standins").rglob("Dockerfile"))):
        run(HADOLINT, path)
        report.found(f"hadolint {path.relative_to(ROOT)}", "no finding")


def build(engine: Engine, report: Report) -> None:
    """Build both images as documented, on the stand-in base."""
    for tag in standins.SUITES:
        report.found("base image", f"{tag}, {standins.base(engine, tag)}")
    report.found("Prometheus, nginx, PostgreSQL, slapd, systemd, a registry", standins.others(engine))
    registry.start(engine)
    began = time.monotonic()
    words = (f"DOCKER={engine.client}", f"SOURCE_URL={SOURCE_URL}", f"BUILD_ARGS={' '.join(registry.base(engine).arguments)}")
    run("make", "image", *words, environ=engine.environ, cwd=ROOT, timeout=2400)
    report.found("make image", f"{time.monotonic() - began:.0f} s")
    for tag in (SALT, SIDECAR):
        report.found(tag, inspect(engine, tag))


def inspect(engine: Engine, tag: str) -> Image:
    """Return the facts of an image."""
    return Image(tag, json.loads(engine.docker("image", "inspect", tag))[0])


def look_inside(engine: Engine, report: Report) -> None:
    """Prove what the images promise: no root, no compiler, compiled bytecode, our own health check."""
    image = inspect(engine, SIDECAR).facts["Config"]
    require(image["User"] == "450:450" and image["StopSignal"] == "SIGTERM", f"user or stop signal: {image}")
    require(image["Healthcheck"]["Test"] == ["CMD", "salt-sidecar", "health"], f"health check: {image['Healthcheck']}")
    for tag in (SIDECAR, SALT):
        said = in_image(engine, tag, "id; for word in gcc cc pip make; do command -v $word; done; true")
        require(said.split("\n", 1) == ["uid=450(salt) gid=450(salt) groups=450(salt)", ""], f"in {tag}: {said}")
    compiled = in_image(engine, SIDECAR, "ls /opt/venv/lib/python3*/site-packages/service/__pycache__ /opt/venv/lib/python3*/site-packages/salt/__pycache__")
    require("commands." in compiled and "minion." in compiled, f"not compiled: {compiled}")
    report.found("inside", "uid 450 in /etc/passwd, no compiler, no pip, bytecode compiled")
    report.found("version", ", ".join(engine.docker("run", "--rm", SIDECAR, "version").splitlines()))


def list_packages(engine: Engine, report: Report) -> None:
    """List what is in the sidecar's image, as `make sbom` does."""
    file = engine.work / "sbom.json"
    run("make", "sbom", f"DOCKER={engine.client}", f"IMAGE={SIDECAR}", f"SBOM={file}", timeout=180, environ=engine.environ, cwd=ROOT)
    names = {component["name"] for component in json.loads(file.read_text())["components"]}
    require({"salt", "salt-sidecar", "psycopg", "pyjwt", "tini"} <= names, f"the list lacks what we put in: {sorted(names)}")
    report.found("make sbom", f"{len(names)} packages, CycloneDX")


def in_image(engine: Engine, tag: str, script: str) -> str:
    """Return what a shell script prints in a fresh container."""
    return engine.docker("run", "--rm", *BARE, "--entrypoint=sh", tag, "-c", script)


def measure_start(engine: Engine, report: Report) -> None:
    """Start the sidecar without a master, read-only and without a capability, until it is alive."""
    script = "touch /tmp/master && exec tini -- salt-sidecar serve --master-config /tmp/master"
    began = time.monotonic()
    name = engine.docker("run", "--detach", *BARE, "--entrypoint=sh", SIDECAR, "-c", script).strip()
    try:
        eventually("the sidecar is alive", lambda: "well:" in engine.docker("exec", name, "salt-sidecar", "health", ok=(0, 1)).split("not ")[0])
        report.found("start of a container until /livez answers", f"{time.monotonic() - began:.1f} s")
        _health_check_is_cheap(engine, name, report)
        began = time.monotonic()
        engine.docker("stop", name)
        code = engine.docker("wait", name).strip()
        require(code == "0", f"stopped with {code}")
        report.found("docker stop", f"exit code 0 after {time.monotonic() - began:.1f} s")
    finally:
        engine.docker("rm", "--force", name)


def _imported(engine: Engine, name: str, words: str) -> set[str]:
    """Return the packages that Python imports for a program, in a container."""
    said = engine.docker("exec", name, "sh", "-c", f"python3 -X importtime {words} 2>&1")
    return {line.rpartition("|")[2].split(".")[0].strip() for line in said.splitlines() if line.startswith("import time:")}


def _health_check_is_cheap(engine: Engine, name: str, report: Report) -> None:
    """Show that the health check imports nothing but Python's own modules, and what it costs."""
    imported = _imported(engine, name, "-m service health")
    # The base image may have hooks of its own, which every program imports.
    own = set(engine.docker("exec", name, "python3", "-c", "import sys; print(*sys.stdlib_module_names)").split())
    foreign = imported - own - {"service"} - _imported(engine, name, "-c pass")
    require("argparse" in imported and not foreign, f"the health check imports {foreign}")
    measured = "import resource, subprocess; subprocess.run(['salt-sidecar', 'health']); print(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]))"
    seconds = engine.docker("exec", name, "python3", "-c", measured).splitlines()[-1]
    report.found("a health check", f"{float(seconds):.2f} s of CPU, Python's own modules only")
