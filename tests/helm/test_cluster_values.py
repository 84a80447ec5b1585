"""Several masters are one Salt master cluster: what they share, who each of them is, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.rendering import CHART, Rendered, ci, containers, refusal, render

NAME = "demo-salt-sidecar"
SHARED = ci("cluster")
SCRIPT = CHART / "files" / "scripts" / "cluster.sh"


@pytest.fixture
def rendered() -> Rendered:
    return render(SHARED)


def mounts(container: dict[str, Any]) -> dict[str, str]:
    return {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}


def test_all_pods_share_the_keys_and_the_cache_and_have_sockets_and_probes_of_their_own(rendered: Rendered) -> None:
    workload = rendered.of("StatefulSet")["spec"]
    volumes = {volume["name"]: volume for volume in workload["template"]["spec"]["volumes"]}
    master, sidecar = (next(one for one in containers(workload["template"]["spec"]) if one["name"] == name) for name in ("salt-master", "salt-sidecar"))

    assert (workload["replicas"], "volumeClaimTemplates" in workload) == (2, False)
    for name in ("pki", "cache"):
        assert volumes[name]["persistentVolumeClaim"] == {"claimName": f"{NAME}-{name}"}
        assert rendered.of("PersistentVolumeClaim", f"{NAME}-{name}")["spec"]["accessModes"] == ["ReadWriteMany"]
    assert volumes["health"] == {"emptyDir": {}, "name": "health"}
    assert mounts(master)["/var/cache/salt/master/health"] == "health"
    assert mounts(workload["template"]["spec"]["initContainers"][0])["/var/cache/salt"] == mounts(master)["/var/cache/salt"] == "cache"
    assert mounts(sidecar)["/etc/salt/pki/cluster/minions"] == "pki"
    # One folder for all: a logout at one sidecar ends the session at each.
    assert mounts(sidecar)["/var/cache/salt/master/tokens"] == "cache"


def test_each_finds_its_own_master_at_the_pods_address(rendered: Rendered) -> None:
    (pod,) = (spec for spec in rendered.pods() if len(spec["containers"]) > 1)
    sidecar = next(one for one in containers(pod) if one["name"] == "salt-sidecar")
    environ = {variable["name"]: variable for variable in sidecar["env"]}
    options = rendered.file(f"{NAME}-master", "master")

    assert environ["POD_IP"]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert environ["SIDECAR_MASTER_URI"]["value"] == "tcp://$(POD_IP):4506"
    assert (options["cluster_id"], options["cluster_pki_dir"], options["cluster_pool_port"]) == ("salt", "/etc/salt/pki/cluster", 4520)
    assert rendered.file(f"{NAME}-config", "sidecar.yaml")["jobs"]["store"].startswith("postgresql:")
    assert pod["hostNetwork"] is True


@pytest.mark.parametrize("native", [False, True])
def test_beside_each_master_runs_what_gets_a_cluster_going_that_starts_again(native: bool) -> None:
    pods = render({**SHARED, "nativeSidecar": native}).pods()
    (master,) = (one for pod in pods for one in containers(pod) if one["name"] == "salt-master")
    shell, option, command = master["lifecycle"]["postStart"]["exec"]["command"]

    assert (shell, option) == ("sh", "-c")
    # The kubelet waits for whoever holds what it reads the hook's output from.
    assert command == "sh /etc/salt/scripts/cluster-propose.sh 4506 </dev/null >/dev/null 2>&1 &"
    assert ("preStop" in master["lifecycle"]) is not native
    assert "postStart" not in str(render({}).pods())


def test_the_masters_alone_reach_each_others_port() -> None:
    policy = render({**SHARED, "networkPolicy": {"restrictEgress": True}}).of("NetworkPolicy")["spec"]
    (inwards,) = (rule for rule in policy["ingress"] if {"port": "cluster", "protocol": "TCP"} in rule["ports"])
    (outwards,) = (rule for rule in policy["egress"] if {"port": "cluster", "protocol": "TCP"} in rule["ports"])

    assert inwards["from"] == outwards["to"] == [{"podSelector": policy["podSelector"]}]


@pytest.mark.parametrize(("own", "warned"), [({}, True), ({"hostNetwork": False}, False)])
def test_the_notes_say_that_no_policy_guards_pods_with_their_nodes_addresses(own: dict[str, Any], warned: bool) -> None:
    notes = render({**SHARED, "cluster": {**SHARED["cluster"], **own}}).notes

    assert ("Let the firewall of the nodes say who reaches the ports 4505, 4506, 4520, 8443, 9175." in notes) is warned
    assert ("The NetworkPolicy lets the pod call" in notes) is not warned


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"cluster": {"addresses": ["192.0.2.11"]}}, "replicas: 2 masters are a Salt master cluster, for which cluster.addresses has to name as many"),
        ({"jobs": {"database": {"url": "", "existingSecret": ""}}}, "jobs.database.url has to name one database for all"),
        ({"master": {"persistence": {"pki": {"accessModes": ["ReadWriteMany"]}, "cache": {"enabled": False}}}}, "master.persistence.cache has to be shared"),
        ({"master": {}}, "master.persistence.pki has to be shared"),
        ({"master": {**SHARED["master"], "keys": {"existingSecret": "x"}}}, "master.keys.existingSecret has to be empty"),
        ({"master": {**SHARED["master"], "config": {"cluster_peers": []}}}, "master.config.cluster_peers: is the chart's business"),
        ({"replicas": 1}, "cluster: is for more than one master, and replicas is 1"),
    ],
)
def test_what_no_cluster_can_work_with_is_refused(values: dict[str, Any], fault: str) -> None:
    assert fault in refusal({**SHARED, **values})


def run(folder: Path, address: str, tries: int = 1) -> subprocess.CompletedProcess[str]:
    environ = {
        "POD_IP": address,
        "PKI": str(folder / "pki"),
        "CACHE": str(folder / "cache"),
        "OWN": str(folder / address),
        "TRIES": str(tries),
        "PATH": "/usr/bin:/bin",
    }
    return subprocess.run(["sh", SCRIPT, *SHARED["cluster"]["addresses"]], env=environ, capture_output=True, text=True, check=False)


def test_the_first_makes_the_clusters_key_and_the_others_wait_for_it(tmp_path: Path) -> None:
    first, second = SHARED["cluster"]["addresses"]

    assert run(tmp_path, first).returncode == 0
    assert (tmp_path / "cache" / "master" / "health").is_dir()
    assert f"{first} has not made the key" in run(tmp_path, second).stderr
    (tmp_path / "pki" / "cluster" / "cluster.pem").touch()
    assert run(tmp_path, second).returncode == 0
    assert yaml.safe_load((tmp_path / second).read_text()) == {
        "id": second,
        "interface": second,
        "cluster_peers": [first],
        "pki_dir": f"{tmp_path}/pki/{second}",
    }


def test_a_pod_with_another_address_is_no_master(tmp_path: Path) -> None:
    done = run(tmp_path, "192.0.2.13")

    assert (done.returncode, "none of cluster.addresses" in done.stderr) == (1, True)
