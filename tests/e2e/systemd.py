"""A machine with systemd as process 1, in a container; Salt is on it as the official packages have it."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from tests.documented.commands import blocks, read
from tests.e2e import standins
from tests.e2e.engine import Engine
from tests.e2e.images import ROOT
from tests.e2e.shell import StepFailed, eventually

NAME = "packaged"
IMAGE = "standin/packaged:salt"
# Our Dockerfile's environment, for the machine's Python.
SALT = "standin/packaged:environment"
PAGE = "docs/install-package.md"
DIST = "/root/dist"
# systemd mounts; Docker's seccomp and AppArmor profiles forbid it. SYS_PTRACE looks into the mounts of other users' processes. Not --privileged,
# which asks for capabilities that a machine in another machine may not have to give.
RIGHTS = ("--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE", "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined", "--cgroupns=private")
BOOT_SECONDS = 180.0
# A master without a cache, on a machine ten times slower than ours.
UNIT_SECONDS = 300.0
TYPING_SECONDS = 1200.0
# What whoever uninstalls expects to find changed: what is Salt's, compiled Python, pip's cache, and logs.
CHANGING = ("*/__pycache__*", "/etc/salt/*", "/var/cache/*", "/var/log/*", "/root/.cache*", f"{DIST}*", "/var/lib/systemd/*")


class Machine:
    """The container. secret: the one of eauth `sharedsecret`, whose user `admin` may do everything."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.secret = secrets.token_hex(20)

    def start(self, dist: Path) -> None:
        """Build the image, boot it, copy dist/ to it, and start master and minion."""
        older = ("--build-arg", f"PYTHON_IMAGE={standins.OLDER_BASE}", "--build-arg", "PYTHON_DIGEST=")
        self._engine.docker("build", *older, "--target", "build", "--tag", SALT, ROOT, timeout=1200)
        arguments = (f"SALT={SALT}", f"SYSTEMD={standins.SYSTEMD}")
        folder = standins.HERE / "standins" / "packaged"
        self._engine.docker("build", *(f"--build-arg={argument}" for argument in arguments), "--tag", IMAGE, folder, timeout=600)
        self._engine.docker(
            "run", "--detach", f"--name={NAME}", "--hostname=packaged", "--env=container=docker", *RIGHTS, "--tmpfs=/run", "--tmpfs=/run/lock", IMAGE
        )
        eventually("systemd is up", lambda: "running" in self.sh("systemctl is-system-running 2>&1 || true", where="/"), BOOT_SECONDS)
        self.copy(dist, DIST)
        self.copy(ROOT / "config" / "master.d" / "salt-api.conf", "/etc/salt/master.d/api.conf")
        self.copy(ROOT / "service" / "demo" / "files" / "quick_minion.yaml", "/etc/salt/minion.d/quick.conf")
        self.sh(f"umask 077; echo 'sharedsecret: {self.secret}' >/etc/salt/master.d/secret.conf; chown -R salt:salt /etc/salt/master.d")
        self.sh("systemctl start salt-master salt-minion", timeout=UNIT_SECONDS)

    def copy(self, source: Path, target: str) -> None:
        self._engine.docker("cp", source, f"{NAME}:{target}")

    def fetch(self, source: str, target: Path) -> None:
        self._engine.docker("cp", f"{NAME}:{source}", target)

    def sh(self, script: str, timeout: float = 120, ok: tuple[int, ...] = (0,), where: str = DIST) -> str:
        """Return what root's shell prints."""
        return self._engine.docker("exec", "--workdir", where, NAME, "bash", "-euo", "pipefail", "-c", script, timeout=timeout, ok=ok)

    def type_in(self, heading: str) -> str:
        """Type the commands that the page has under a heading; return what they print."""
        return self.sh(documented(heading), timeout=TYPING_SECONDS)

    def property(self, name: str) -> str:
        return self.sh(f"systemctl show --property={name} --value salt-sidecar").strip()

    def files(self) -> set[str]:
        """Return every file and folder, except those that change by themselves."""
        excluded = " ".join(f"-not -path '{pattern}'" for pattern in CHANGING)
        return set(self.sh(f"find /etc /home /opt /root /srv /usr /var {excluded}").splitlines())

    def contents(self, folder: str) -> str:
        """Return a digest of all files below a folder, compiled Python left out."""
        return self.sh(f"find {folder} -type f -not -path '*/__pycache__/*' -print0 | sort --zero-terminated | xargs -0 sha256sum | sha256sum")

    def last_words(self) -> str:
        with contextlib.suppress(StepFailed):
            return self.sh("journalctl --no-pager --lines=200 | grep -v 'compat systemd cgroup' | tail -n 40; tail -n 20 /var/log/salt/master", where="/")
        return "nothing more to learn from the machine"

    def remove(self) -> None:
        with contextlib.suppress(StepFailed):
            self._engine.docker("rm", "--force", NAME)


def documented(heading: str) -> str:
    """Return the commands of the page under a heading, up to the next one."""
    lines = read(PAGE).splitlines()
    (begin,) = [number for number, line in enumerate(lines) if line.lstrip("#").strip() == heading and line.startswith("#")]
    end = next((number for number in range(begin + 1, len(lines)) if lines[number].startswith("## ") or lines[number].startswith("### ")), len(lines))
    return "".join(block.text for block in blocks(PAGE, "\n".join(lines[begin:end])) if block.language == "sh")
