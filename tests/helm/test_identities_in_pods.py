"""Logins without passwords: who sees the key, what the master is told, and what nginx says of a certificate."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.rendering import CHART, RELEASE, ROOT, Rendered, ci, containers, refusal, render

PREFIX = f"{RELEASE}-salt-sidecar"


def mounts(rendered: Rendered) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the mounts of each container, by their volumes."""
    (pod,) = (pod for pod in rendered.pods() if "volumes" in pod and not any(container["name"] == "smoke" for container in containers(pod)))
    return {container["name"]: {mount["name"]: mount for mount in container["volumeMounts"]} for container in containers(pod)}


def volume(rendered: Rendered, name: str) -> dict[str, Any]:
    return next(volume for pod in rendered.pods() for volume in pod["volumes"] if volume["name"] == name)


@pytest.mark.parametrize("name", ["identities", "attach-identities"])
def test_the_key_is_in_a_volume_that_the_sidecar_alone_reads(name: str) -> None:
    found = mounts(render(ci(name)))
    with_key = {container: volumes["salt-sidecar-identity"] for container, volumes in found.items() if "salt-sidecar-identity" in volumes}

    assert with_key.keys() == {"identities", "salt-sidecar"}
    assert with_key["salt-sidecar"]["readOnly"] is True
    assert {container for container, volumes in found.items() if "salt-sidecar-told" in volumes} == {"identities", "salt-sidecar", "salt-master"}
    assert len({volumes["salt-sidecar-told"]["mountPath"] for volumes in found.values() if "salt-sidecar-told" in volumes}) == 1


def test_a_key_that_is_made_stays_in_memory() -> None:
    assert volume(render(ci("identities")), "salt-sidecar-identity")["emptyDir"]["medium"] == "Memory"


def test_a_key_of_a_secret_is_told_to_the_master_with_the_one_that_follows() -> None:
    rendered = render(ci("attach-identities"))
    (init,) = next(pod["initContainers"] for pod in rendered.pods() if "initContainers" in pod)
    files = {item["path"]: item["key"] for item in volume(rendered, "salt-sidecar-identity")["secret"]["items"]}

    assert files == {"identity.pem": "identity.pem", "next.pem": "next.pem"}
    assert init["command"][3:] == ["salt-master", "", *(f"/etc/salt-sidecar/identity/{file}" for file in files)]


def test_the_sidecar_and_the_master_are_configured_for_it() -> None:
    rendered = render(ci("identities"))
    settings = rendered.file(f"{PREFIX}-config", "sidecar.yaml")["identities"]
    master = rendered.file(f"{PREFIX}-master", "master")

    assert settings == {
        **ci("identities")["config"]["identities"],
        "key_file": "/etc/salt-sidecar/identity/identity.pem",
        "proxy_secret_file": "/etc/salt-sidecar/proxy/secret",
    }
    assert master["external_auth"] == {"sidecar": ci("identities")["identities"]["accounts"]}
    assert mounts(rendered)["salt-master"]["salt-sidecar-told"]["mountPath"].startswith("/etc/salt/conf.d/"), master["default_include"]


def test_an_attached_master_that_shares_no_configuration_is_told_where_to_look() -> None:
    values = ci("attach-identities")
    values["attach"]["masterConfig"] = {}
    rendered = render(values)
    told = mounts(rendered)["salt-master"]["salt-sidecar-told"]["mountPath"]

    assert rendered.file(f"{PREFIX}-master", "master")["default_include"] == f"{told}/*.conf"
    assert f"include: {told}/identities.conf" in rendered.notes


@pytest.mark.parametrize(("given", "called"), [("optional", f"https://{PREFIX}:443"), ("required", "-")])
def test_helm_test_calls_the_api_unless_that_takes_a_certificate(given: str, called: str) -> None:
    values = ci("identities")
    values["tls"]["clientCertificates"] = given

    assert render(values).of("Pod")["spec"]["containers"][0]["args"][0] == called


@pytest.mark.parametrize(("given", "said"), [("optional", "optional"), ("required", "on")])
def test_nginx_passes_a_verified_certificate_on_and_proves_that_it_is_nginx(given: str, said: str) -> None:
    values = ci("identities")
    values["tls"]["clientCertificates"] = given
    values["config"]["identities"]["certificate_header"] = "Client-Cert"
    rendered = render(values)
    config = rendered.of("ConfigMap", f"{PREFIX}-nginx")["data"]["nginx.conf"]
    found = mounts(rendered)

    assert f"ssl_verify_client {said};" in config
    assert 'map $ssl_client_verify $verified_certificate { SUCCESS $ssl_client_escaped_cert; default ""; }' in config
    assert "proxy_set_header Client-Cert $verified_certificate;" in config
    assert f"include {found['tls']['salt-sidecar-proxy']['mountPath']}/header.conf;" in config
    assert {container for container, volumes in found.items() if "salt-sidecar-proxy" in volumes} == {"identities", "salt-sidecar", "tls"}
    assert volume(rendered, "salt-sidecar-proxy")["emptyDir"]["medium"] == "Memory"


def test_without_a_rule_for_certificates_nobody_passes_them_on() -> None:
    """The sidecar would not start with a proxy's secret and no rule."""
    rendered = render({**ci("tls"), "identities": {"enabled": True}})

    assert rendered.file(f"{PREFIX}-config", "sidecar.yaml")["identities"] == {"key_file": "/etc/salt-sidecar/identity/identity.pem"}
    assert "verified_certificate" not in rendered.of("ConfigMap", f"{PREFIX}-nginx")["data"]["nginx.conf"]


def test_without_identities_nothing_of_them_is_there() -> None:
    rendered = render(ci("tls"))

    assert "identities" not in rendered.file(f"{PREFIX}-config", "sidecar.yaml")
    assert "identities" not in mounts(rendered)


# What the sidecar and the master do, in the environment of both: Salt reads its configuration, loads the module, and judges what the sidecar signed.
BOTH_SIDES = """
import sys
from pathlib import Path
import salt.loader
from service.gateway.master.options import read_master_config
from service.identities.assertion import AssertionSigner

master = read_master_config(Path(sys.argv[1]))
modules = salt.loader.auth(master)
for key in sys.argv[2:]:
    signed = AssertionSigner(Path(key), master).credentials("ci")
    print(modules["sidecar.auth"]("ci", signed["password"]), modules["sidecar.auth"]("another", signed["password"]))
"""


def test_what_the_init_container_makes_is_what_both_sides_read(tmp_path: Path) -> None:
    """The script itself, with the sidecar's own commands."""
    folders = {"told": tmp_path / "conf.d" / "identities", "proxy": tmp_path / "proxy", "identity": tmp_path / "identity"}
    for folder in folders.values():
        folder.mkdir(parents=True)
    (tmp_path / "master").write_text(f"default_include: {tmp_path}/conf.d/*/*.conf\ncachedir: {tmp_path}/cache\n")
    keys = [folders["identity"] / name for name in ("identity.pem", "next.pem")]
    command: list[str | Path] = ["sh", CHART / "files" / "scripts" / "identities.sh", folders["told"], "prod/demo", folders["proxy"], *keys]
    programs = {"PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    for _ in range(2):  # a pod whose network was made again runs it again
        subprocess.run(command, env=programs, check=True, timeout=120)
    argv: list[str | Path] = [ROOT / ".venv" / "bin" / "python", "-W", "ignore", "-c", BOTH_SIDES, tmp_path / "master", *keys]
    judged = subprocess.run(argv, cwd=ROOT, check=True, timeout=120, stdout=subprocess.PIPE, text=True).stdout
    told = yaml.safe_load((folders["told"] / "identities.conf").read_text())
    secret = (folders["proxy"] / "secret").read_text().strip()

    assert judged.splitlines() == ["True False"] * 2
    assert told["auth_dirs"] == [str(folders["told"] / "auth")]
    assert (told["sidecar_assertion"]["audience"], len(told["sidecar_assertion"]["keys"])) == ("prod/demo", 2)
    assert [file.name for file in (folders["told"] / "auth").glob("*.py")] == ["sidecar.py"]
    assert (folders["proxy"] / "header.conf").read_text() == f'proxy_set_header X-Proxy-Secret "{secret}";\n'
    assert len(secret) == 44
    assert {file.stat().st_mode & 0o777 for file in [*folders["proxy"].iterdir(), *keys]} == {0o600}


RULE = {"issuer": "certificate", "claims": {"common_name": ["x"]}, "account": "x"}


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"identities": {"enabled": True}, "config": {"identities": {"key_file": "/x"}}}, "config.identities.key_file: is the chart's business"),
        ({"identities": {"enabled": True}, "existingConfigMap": "x"}, "identities.enabled: the chart writes sidecar.yaml"),
        ({"identities": {"enabled": True}, "config": {"identities": {"rules": [RULE]}}}, "config.identities.rules: one is for certificates"),
        ({"config": {"identities": {"rules": [RULE]}}}, "identities.enabled: is false, so the master would take nobody"),
        ({"identities": {"accounts": {"x": ["test.ping"]}}}, "identities.enabled: is false, so nobody"),
        ({"identities": {"enabled": True, "key": {"nextSecretKey": "x"}}}, "identities.key.existingSecret: is empty"),
        ({"tls": {"clientCertificates": "optional"}}, "tls.clientCASecret: is empty"),
        (
            {**ci("attach"), "attach": {**ci("attach")["attach"], "masterContainer": ""}, "identities": {"enabled": True}},
            "attach.masterContainer: name your master's container",
        ),
        ({**ci("attach-identities"), "identities": {"enabled": True, "accounts": {"x": ["test.ping"]}}}, "identities.accounts: is for bundled mode"),
        ({**ci("identities"), "config": {"identities": {"proxy_secret_file": "/x", "rules": [RULE]}}}, "config.identities.proxy_secret_file: nginx in the pod"),
        ({"identities": {"audience": "a\nb"}}, "/identities/audience"),
    ],
    ids=lambda value: value.partition(":")[0] if isinstance(value, str) else "",
)
def test_what_would_let_nobody_in_is_refused(values: dict[str, Any], fault: str) -> None:
    assert fault in refusal(values)
