"""Pipelines that hold no password, scene by scene: a real issuer of id tokens, a real master with the eauth module, the sidecar, compose.yaml's nginx, and salt-ci."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.cli import main
from service.demo.embedded import PATIENCE_SECONDS, EmbeddedSalt
from service.demo.ports import free_ports
from tests.certificates import Authority, certificate
from tests.issuing import AUDIENCE, URL, KeyServer, SigningKey, as_github, gitlab
from tests.real.jobs.stages import Played, StageSet, StepScene
from tests.real.sidecar import JSON, Sidecar, ask
from tests.server.nginx import compose_site, running
from tests.unit.identities.assertions import MasterSide

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler


GITLAB_URL = "https://gitlab.example.org"
ACCOUNT = "ci:group/app"
SECRET = "what nginx knows"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
EXCHANGE = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token_type": "urn:ietf:params:oauth:token-type:id_token"}
RULES = [
    {"issuer": "github", "claims": {"repository_id": ["74"], "ref": ["refs/heads/main"]}, "account": ACCOUNT},
    {"issuer": "gitlab", "claims": {"project_path": ["my-group/my-project"], "ref_protected": ["true"]}, "account": ACCOUNT},
    {"issuer": "certificate", "claims": {"common_name": ["deploy"], "organizational_unit": ["ci"]}, "account": ACCOUNT},
]


class IdStage(StageSet):
    """
    All that the scenes need. The issuer also gives its id tokens as GitHub gives them to a job that asks.

    folder: takes all files. nginx: the program.
    """

    def __init__(self, folder: Path, nginx: str) -> None:
        super().__init__()
        self._folder, self._nginx = folder, nginx
        self._played = 0
        self.key, self.github_key = SigningKey("key-1"), SigningKey("key-2")
        self._authority = Authority()
        (folder / "keys").mkdir()
        self._side = MasterSide(folder / "keys")

    def _start(self) -> None:
        assert main(["install-eauth", str(self._folder / "auth")]) == 0
        options = {
            "external_auth": {"sidecar": {ACCOUNT: ["cmd.run", "test.ping"]}},
            "auth_dirs": [str(self._folder / "auth")],
            **copy.deepcopy(self._side.opts),
        }
        salt = self.enter_context(EmbeddedSalt(self._folder / "salt", threads=True, master={"gather_job_timeout": 30, **options}))
        self.issuer = self.enter_context(KeyServer(self._answer))
        self.sidecar = self.enter_context(Sidecar(salt.master_config, self._folder / "sidecar", **self._settings()))
        self._program = self._folder / "ci.py"
        self._program.write_bytes(self.sidecar.get("/v1/ci.py").body)
        self._start_nginx()

    def _settings(self) -> dict[str, Any]:
        secret = self._folder / "proxy-secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        common = {"audiences": [AUDIENCE], "jwks_url": self.issuer.url}
        return {
            "JOBS_STORE": f"sqlite://{self._folder}/jobs.db",
            "IDENTITIES_KEY_FILE": self._side.key_file,
            "IDENTITIES_ISSUERS": json.dumps({"github": {"url": URL, **common}, "gitlab": {"url": GITLAB_URL, **common}}),
            "IDENTITIES_PROXY_SECRET_FILE": secret,
            "IDENTITIES_RULES": json.dumps(RULES),
        }

    def _start_nginx(self) -> None:
        site = self._folder / "nginx"
        (site / "proxy-secret").mkdir(parents=True)
        (site / "proxy-secret" / "secret.conf").write_text(f'proxy_set_header X-Proxy-Secret "{SECRET}";\n')
        authorities = self._folder / "authorities.crt"
        authorities.write_text(self._authority.own.pem)
        (port,) = free_ports(1)
        self._pair = certificate(self._folder)
        (site / "nginx.conf").write_text(compose_site(site, port, self.sidecar.api_port, self._pair, authorities))
        self.enter_context(running(self._nginx, site, port))
        self._front = f"https://127.0.0.1:{port}"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer as GitHub with the key of now, and as the issuer of both."""
        as_github(self.github_key, self.key)(request)

    def play(self, scene: Scene) -> Played:
        """Play a scene."""
        self._played += 1
        self._ran = self._folder / f"ran-{self._played}"
        code, log = scene.play(self)
        return Played(code, len(self._ran.read_text().splitlines()) if self._ran.exists() else 0, log)

    def deploy(self, target: str = "*", *, url: str = "", **environ: str) -> tuple[int, str]:
        """Let salt-ci run a job that leaves a line on each minion."""
        call = [sys.executable, str(self._program), "run", target, "cmd.run", f"echo run >> {self._ran}", "--deadline", "120"]
        whole = {"PATH": os.environ["PATH"], "SALT_API_URL": url or f"http://127.0.0.1:{self.sidecar.api_port}", **environ}
        ended = subprocess.run(call, env=whole, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_SECONDS, check=False)
        return ended.returncode, ended.stdout.decode()

    def deploy_with_certificate(self, common_name: str) -> tuple[int, str]:
        """Let salt-ci do so through nginx, with a certificate and nothing else."""
        pair, key = self._authority.sign(common_name).write(self._folder, common_name)
        return self.deploy(url=self._front, SALT_API_CA=str(self._pair), SALT_API_CERT=str(pair), SALT_API_KEY=str(key))

    def github(self, audience: str = AUDIENCE) -> dict[str, str]:
        """Return what GitHub puts into the environment of a job that may ask for id tokens, and what the workflow says."""
        url = self.issuer.url.replace("/jwks", "/token?api-version=2.0")
        return {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of the runner", "SALT_API_AUDIENCE": audience}

    def scoped(self, scope: str, **more: str) -> str:
        """Exchange an id token of GitLab's for a scoped token."""
        form = {**EXCHANGE, "subject_token": self.key.sign(gitlab()), "scope": scope, **more}
        answer = ask(self.sidecar.api_port, "POST", "/v1/token", urllib.parse.urlencode(form).encode(), FORM)
        assert answer.status == 200, answer.body
        token: str = answer.json()["access_token"]
        return token

    def revoke(self, token: str) -> None:
        """End a token."""
        assert ask(self.sidecar.api_port, "POST", "/logout", b"{}", {**JSON, "X-Auth-Token": token}).status == 200


Play = Callable[[IdStage], tuple[int, str]]


Scene = StepScene[Play]


def with_id_token(**claims: Any) -> Play:
    """Return a scene in which a job of GitLab's has an id token with these claims."""
    return lambda stage: stage.deploy(SALT_ID_TOKEN=stage.key.sign(gitlab(**claims)))


def rotated(stage: IdStage) -> tuple[int, str]:
    """GitHub signs with a key that the sidecar has not seen: until it asks for the keys again, salt-ci waits."""
    stage.github_key = SigningKey("key-3")
    return stage.deploy(**stage.github())


def inside(stage: IdStage) -> tuple[int, str]:
    return stage.deploy("minion-1", SALT_TOKEN=stage.scoped("local:cmd.run@minion-1"))


def outside(stage: IdStage) -> tuple[int, str]:
    return stage.deploy("minion-2", SALT_TOKEN=stage.scoped("local:cmd.run@minion-1"))


def revoked(stage: IdStage) -> tuple[int, str]:
    token = stage.scoped("local:cmd.run@minion-1")
    stage.revoke(token)
    return stage.deploy("minion-1", SALT_TOKEN=token)


SCENES = [
    Scene("a job of GitHub", lambda stage: stage.deploy(**stage.github()), 0, 2),
    Scene("a job of GitLab", with_id_token(), 0, 2),
    Scene("another audience", lambda stage: stage.deploy(**stage.github("https://other.example.org")), 11),
    Scene("a branch that is not protected", with_id_token(ref_protected="false"), 11),
    Scene("an id token that has expired", with_id_token(exp=1_000_000), 11),
    Scene("a scoped token, inside", inside, 0, 1),
    Scene("a scoped token, outside", outside, 11),
    Scene("a scoped token that was revoked", revoked, 11),
    Scene("a client certificate through nginx", lambda stage: stage.deploy_with_certificate("deploy"), 0, 2),
    Scene("a certificate of somebody else", lambda stage: stage.deploy_with_certificate("somebody"), 11),
    Scene("the issuer's key changes in mid-flight", rotated, 0, 2),
]
