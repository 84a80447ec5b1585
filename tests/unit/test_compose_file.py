"""compose.yaml and its files keep what they promise each other; that they work is shown by `make e2e`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.jobs.stores.place import file_of
from service.settings.sources import load
from service.wiring.listeners import api_threads

ROOT = Path(__file__).parents[2]


class Tagged(yaml.SafeLoader):
    """Reads what Compose is to take instead of what it has, by a tag, as any value."""


Tagged.add_multi_constructor(
    "!", lambda loader, _tag, node: loader.construct_mapping(node) if isinstance(node, yaml.MappingNode) else loader.construct_sequence(node)
)
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
DATABASE = yaml.safe_load((ROOT / "config" / "compose" / "database.yaml").read_text(encoding="utf-8"))
NOTIFY = yaml.safe_load((ROOT / "config" / "compose" / "notify.yaml").read_text(encoding="utf-8"))
IDENTITIES = yaml.safe_load((ROOT / "config" / "compose" / "identities.yaml").read_text(encoding="utf-8"))
CLUSTER = yaml.load((ROOT / "config" / "compose" / "cluster.yaml").read_text(encoding="utf-8"), Tagged)
SETTINGS = load({"SIDECAR_CONFIG": str(ROOT / "config" / "compose" / "sidecar.yaml")})

IDLE_BYTES = 110_000_000  # docs/performance.md holds it to that


def mebibytes(size: str) -> int:
    """Read Compose's `512m` and Kubernetes' `512Mi`."""
    return int(re.fullmatch(r"(\d+)(?:m|Mi)", size)[1]) * 1024**2  # type: ignore[index]


def test_a_container_is_not_killed_before_its_drain_is_over() -> None:
    grace = float(COMPOSE["services"]["sidecar"]["stop_grace_period"].removesuffix("s"))

    assert grace > SETTINGS.drain.notice_seconds + SETTINGS.drain.drain_seconds + 5


def test_there_are_processes_for_every_thread_of_the_sidecar() -> None:
    assert COMPOSE["services"]["sidecar"]["pids_limit"] > api_threads(SETTINGS) + 100


@pytest.mark.costly
def test_all_that_bodies_may_take_fits_into_the_memory_of_the_container_and_of_the_pod() -> None:
    service, api = COMPOSE["services"]["sidecar"], SETTINGS.api
    pod = yaml.safe_load((ROOT / "helm" / "salt-sidecar" / "values.yaml").read_text(encoding="utf-8"))["resources"]["limits"]["memory"]
    tmp = re.search(
        r"salt-sidecar-tmp\n +emptyDir:\n +medium: Memory\n +sizeLimit: (.*)\n", (ROOT / "helm/salt-sidecar/templates/_pod.tpl").read_text(encoding="utf-8")
    )

    assert tmp
    for memory, files in ((service["mem_limit"], service["tmpfs"][0].removeprefix("/tmp:size=")), (pod, tmp[1])):
        assert api.body_bytes <= mebibytes(files)
        assert IDLE_BYTES + api.body_memory_bytes + mebibytes(files) <= mebibytes(memory)


def test_every_service_is_confined_and_limited() -> None:
    for name, service in {**COMPOSE["services"], "database": DATABASE["services"]["database"]}.items():
        assert service["read_only"] is True, name
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), name
        assert {"user", "mem_limit", "pids_limit"} <= set(service), name
        assert all(port.startswith(("${", "127.0.0.1:")) for port in service.get("ports", [])), f"{name} publishes without an address"


def test_the_owner_of_the_network_is_none_of_our_images() -> None:
    network = COMPOSE["services"]["network"]

    assert "build" not in network
    assert "SALT" not in network["image"]


@pytest.mark.costly
def test_images_of_others_are_named_by_tag_and_digest_and_nginx_is_the_charts() -> None:
    files = [ROOT / "compose.yaml", *sorted((ROOT / "config" / "compose").glob("*.yaml"))]
    lines = [line for file in files for line in re.findall(r"^ *image: +(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)]
    defaults = {re.sub(r"^\$\{[A-Z_]+:-(.*)\}$", r"\1", line) for line in lines}
    others = {name for name in defaults if not re.match(r"(salt|salt-sidecar):", name)}
    chart = yaml.safe_load((ROOT / "helm" / "salt-sidecar" / "values.yaml").read_text(encoding="utf-8"))["tls"]["image"]

    assert others
    assert [name for name in others if not re.fullmatch(r"[a-z/-]+:[\w.-]+@sha256:[0-9a-f]{64}", name)] == []
    assert f"{chart['repository']}:{chart['tag']}" in others


def test_the_sidecar_mounts_no_volume_in_which_the_secret_is() -> None:
    volumes = {volume.split(":")[0] for volume in COMPOSE["services"]["sidecar"]["volumes"]}

    assert not volumes & {"config", "pki", "cache", "grafana-secret"}
    assert "secrets" not in COMPOSE["services"]["sidecar"]


def test_the_store_of_jobs_is_in_a_volume_that_its_user_may_write_to() -> None:
    folder = str(file_of(SETTINGS.jobs.store).parent)
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    made = re.search(r"install -d -o salt -g salt -m 0750 ((?:.|\\\n)*?)&&", image)

    assert f"jobs:{folder}" in COMPOSE["services"]["sidecar"]["volumes"]
    assert "jobs" in COMPOSE["volumes"]
    assert made
    assert folder in made[1].split()


def test_one_of_two_sidecars_has_the_store_of_jobs_and_gets_its_requests() -> None:
    second = COMPOSE["services"]["sidecar-2"]["environment"]
    nginx = ROOT / "config" / "nginx"
    upstream = re.fullmatch(r"# .*\nupstream jobs \{\s+server (\S+) max_fails=0;\s+\}\n", (nginx / "jobs.conf").read_text(encoding="utf-8"))

    assert load({"SIDECAR_CONFIG": str(ROOT / "config/compose/sidecar.yaml"), **second}).jobs.store == ""
    assert upstream
    assert upstream[1] == f"127.0.0.1:{SETTINGS.api.port}"
    for site in ("tls.conf", "mtls.conf"):
        assert re.search(r"location /v1/ \{\s+proxy_pass http://jobs;", (nginx / site).read_text(encoding="utf-8")), site


def test_nginx_follows_every_certificate_that_it_reads() -> None:
    read = {
        file
        for site in ("tls.conf", "mtls.conf")
        for file in re.findall(r"/run/secrets/\S+(?=;)", (ROOT / "config" / "nginx" / site).read_text(encoding="utf-8"))
    }
    nginx = COMPOSE["services"]["nginx"]

    assert nginx["command"][:3] == ["sh", "/etc/nginx/serve-tls.sh", "/etc/nginx/nginx.conf"]
    assert set(nginx["command"][3:]) == read == {f"/run/secrets/{name}" for name in nginx["secrets"]}


def test_nginx_sends_the_jobs_to_both_where_they_have_one_database() -> None:
    nginx = ROOT / "config" / "nginx"
    upstreams = {
        name: servers
        for file in ("sidecars.conf", "jobs-shared.conf")
        for name, servers in re.findall(r"upstream (\w+) \{([^}]*)\}", (nginx / file).read_text(encoding="utf-8"))
    }
    mounted = [volume for volume in COMPOSE["services"]["nginx"]["volumes"] if volume.endswith(":/etc/nginx/jobs.conf:ro")]

    assert upstreams["jobs"] == upstreams["sidecars"]
    assert [f"127.0.0.1:{port}" in upstreams["websockets"] for port in (8003, 8004)] == [True, True]
    assert mounted == ["./config/nginx/jobs.conf:/etc/nginx/jobs.conf:ro"]
    assert DATABASE["services"]["nginx"] == {"volumes": ["./config/nginx/jobs-shared.conf:/etc/nginx/jobs.conf:ro"]}


def test_both_sidecars_have_the_key_that_signs_notices_as_a_secret() -> None:
    assert NOTIFY["services"].keys() == {"sidecar", "sidecar-2"}
    for service in NOTIFY["services"].values():
        environ = {**service["environment"], "SIDECAR_JOBS_NOTIFY_URLS": "https://ci.example.org/hooks/,https://chat.example.org/one"}
        jobs = load({"SIDECAR_CONFIG": str(ROOT / "config/compose/sidecar.yaml"), **environ}).jobs
        assert jobs.notify_urls == ("https://ci.example.org/hooks/", "https://chat.example.org/one")
        assert (str(jobs.notify_secret_file), service["secrets"]) == ("/run/secrets/notify", ["notify"])


def test_both_sidecars_have_one_database_and_its_password_is_a_secret() -> None:
    server = DATABASE["services"]["database"]
    stores = [
        load({"SIDECAR_CONFIG": str(ROOT / "config/compose/sidecar.yaml"), **DATABASE["services"][name]["environment"]}).jobs
        for name in ("sidecar", "sidecar-2")
    ]

    assert stores[0] == stores[1]
    assert stores[0].store == f"postgresql://{server['environment']['POSTGRES_USER']}@database/{server['environment']['POSTGRES_DB']}"
    assert str(stores[0].store_password_file) == server["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/database"
    assert {name for name, service in DATABASE["services"].items() if service.get("secrets") == ["database"]} == {"sidecar", "sidecar-2", "database"}


def test_only_the_sidecars_have_the_key_of_identities_and_nginx_has_the_secret_alone() -> None:
    mounts = {name: {volume.split(":")[0] for volume in service["volumes"]} for name, service in IDENTITIES["services"].items()}

    assert mounts == {"init": {"identities", "proxy-secret"}, "sidecar": {"identities"}, "sidecar-2": {"identities"}, "nginx": {"proxy-secret"}}
    assert set(IDENTITIES["volumes"]) == {"identities", "proxy-secret"}
    assert COMPOSE["services"]["init"]["network_mode"] == "none"
    assert IDENTITIES["services"]["init"]["image"] == COMPOSE["services"]["sidecar"]["image"]


def test_both_sidecars_find_what_init_makes_for_identities() -> None:
    made = (ROOT / "config" / "compose" / "init").read_text(encoding="utf-8")
    folder = IDENTITIES["services"]["sidecar"]["volumes"][0].split(":")[1]

    for name in ("sidecar", "sidecar-2"):
        ours = load({"SIDECAR_CONFIG": str(ROOT / "config/compose/sidecar.yaml"), **IDENTITIES["services"][name]["environment"]}).identities
        assert {str(ours.key_file), str(ours.proxy_secret_file)} == {f"{folder}/key.pem", f"{folder}/proxy-secret"}
        assert f"    {ours.test_account}: [test.ping]\\n" in made
    assert '"$own/key.pem"' in made
    assert 'generated "$own/proxy-secret"' in made


def address_of(variable: str) -> str:
    """Return what a variable of cluster.yaml is if nobody sets it."""
    found = re.fullmatch(r"\$\{[A-Z_0-9]+:-([^}]+)\}", variable)
    assert found
    return found[1]


def test_each_master_of_a_cluster_knows_itself_and_the_other_by_the_addresses_of_their_networks() -> None:
    services = CLUSTER["services"]
    first, second = (address_of(services[name]["networks"]["default"]["ipv4_address"]) for name in ("network", "network-2"))
    told = [{name: address_of(value) for name, value in services[name]["environment"].items()} for name in ("init", "init-2")]

    assert told == [{"MASTER_ADDRESS": first, "MASTER_PEER": second}, {"MASTER_ADDRESS": second, "MASTER_PEER": first}]
    assert [address_of(services[name]["environment"]["POD_IP"]) for name in ("salt-master", "salt-master-2")] == [first, second]
    assert address_of(services["sidecar-2"]["environment"]["SIDECAR_ACCESS_TRUSTED_PROXIES"]) == first


def test_the_masters_of_a_cluster_share_all_volumes_but_configuration_and_sockets() -> None:
    own = {name: {volume.split(":")[0] for volume in CLUSTER["services"][name]["volumes"]} for name in ("salt-master-2", "sidecar-2")}

    assert own == {"salt-master-2": {"config-2", "run-2"}, "sidecar-2": {"sidecar-config-2", "run-2"}}
    assert CLUSTER["services"]["salt-master-2"]["extends"] == {"file": "compose.yaml", "service": "salt-master"}


def test_nginx_of_a_cluster_asks_the_sidecars_where_they_listen() -> None:
    command = CLUSTER["services"]["nginx"]["command"]
    second = load({"SIDECAR_CONFIG": str(ROOT / "config/compose/sidecar.yaml"), **COMPOSE["services"]["sidecar-2"]["environment"]})
    sidecars, nginx = command[2 : command.index("--")], command[command.index("--") + 1 :]

    ports = [(ours.api.port, ours.websocket.port, ours.ops.port) for ours in (SETTINGS, second)]
    assert sidecars == [":".join(map(str, (name, *listens))) for name, listens in zip(("sidecar", "sidecar-2"), ports, strict=True)]
    assert nginx == COMPOSE["services"]["nginx"]["command"][2:]
    for name, aliases in (("network", ["salt-master", "sidecar"]), ("network-2", ["salt-master-2", "sidecar-2"])):
        assert CLUSTER["services"][name]["networks"]["default"]["aliases"] == aliases


@pytest.mark.parametrize("ready", [(), ("a:1:2:3",), ("b:4:5:6",), ("a:1:2:3", "b:4:5:6")])
def test_nginx_passes_over_a_sidecar_that_is_not_ready_unless_none_is(ready: tuple[str, ...]) -> None:
    script = (ROOT / "config" / "nginx" / "serve-ready.sh").read_text(encoding="utf-8")
    functions = "".join(re.findall(r"^(?:servers|field)\(\) \{.*?^\}\n", script, re.MULTILINE | re.DOTALL))
    asked = ["sh", "-c", f'sidecars=" a:1:2:3 b:4:5:6"\n{functions}servers 3 "$1"', "sh", "".join(f" {one}" for one in ready)]
    said = subprocess.run(asked, check=True, capture_output=True)

    down = {server: ready and one not in ready for one, server in (("a:1:2:3", "a:2"), ("b:4:5:6", "b:5"))}
    assert said.stdout.decode().splitlines() == [f"server {server} max_fails=0{' down' * bool(is_down)};" for server, is_down in down.items()]


def documented_stacks() -> set[str]:
    """Return each COMPOSE_FILE that the documentation names, and what it says may be added."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))
    named = set(re.findall(r"\bCOMPOSE_FILE=([\w./:-]+)", text))
    more = ":config/compose/notify.yaml:config/compose/identities.yaml"
    return {"compose.yaml", *named, *(file + more for file in named if file.endswith(("database.yaml", "cluster.yaml")))}


@pytest.mark.parametrize("files", sorted(documented_stacks()))
def test_compose_takes_every_combination_of_files_that_is_documented(files: str) -> None:
    own = ROOT / ".venv-e2e" / "bin" / "docker-compose"
    program = [str(own)] if own.exists() else [shutil.which("docker-compose") or ""]
    if program == [""]:
        pytest.skip("there is no Compose on this machine: make .venv-e2e/.stamp")
    environ = {
        **os.environ,
        "COMPOSE_FILE": files,
        **dict.fromkeys(("DATABASE_PASSWORD_FILE", "NOTIFY_SECRET_FILE"), "/dev/null"),
        "NOTIFY_URLS": "https://a.example/",
    }
    done = subprocess.run([*program, "--profile", "*", "config", "--format", "json"], cwd=ROOT, env=environ, check=False, capture_output=True, encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(done.stdout or "{}").get("services", {})

    assert (done.returncode, done.stderr) == (0, "")
    assert {"salt-master", "sidecar", "sidecar-2", "nginx"} <= found.keys()
    assert ("salt-master-2" in found) == ("cluster.yaml" in files)
    assert len({file["target"] for file in found["nginx"]["volumes"]}) == len(found["nginx"]["volumes"])


def test_every_variable_of_compose_is_explained() -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("compose.yaml", "config/compose/cluster.yaml")]
    used = set(re.findall(r"\$\{([A-Z_0-9]+)", "".join(texts))) - {"DATABASE_PASSWORD_FILE"}
    explained = set(re.findall(r"^#([A-Z_0-9]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))

    # The images of others are named where they are used.
    assert used - explained == {"NETWORK_IMAGE", "NGINX_IMAGE", "PROMETHEUS_IMAGE", "ALERTMANAGER_IMAGE", "GRAFANA_IMAGE"}
    assert explained <= used
