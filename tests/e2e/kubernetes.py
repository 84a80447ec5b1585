"""The chart, run for real: with a kubelet's volumes and signals under Docker, and as a pod under podman."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.e2e import documented, images, pod_identities, standins
from tests.e2e.engine import Engine
from tests.e2e.kubelet import Pod
from tests.e2e.podman import NETWORK, Podman
from tests.e2e.podprep import pod_of, prepared
from tests.e2e.release import API_PORT, MINION, NAME, OPS_PORT, Release, certificate, exchange, minion_config, release
from tests.e2e.report import Report
from tests.e2e.shell import StepFailed, eventually, require

START_SECONDS = 600.0
SERVICES = (NAME, f"{NAME}-metrics", f"{NAME}-master")
ANSWER = {"return": [{MINION: True}]}


def under_a_kubelet(engine: Engine, report: Report) -> None:
    """Emulate the kubelet: fsGroup, Secret symlinks, read-only roots, probes, and the end of a pod under load."""
    made = release(engine.work, images.SIDECAR, images.SALT, standins.NGINX, pod_identities.values())
    stateful = made.rendered.of("StatefulSet")["spec"]
    pod = Pod(engine, "kubelet", stateful["template"]["spec"], made.objects)
    with removed(pod), contextlib.ExitStack() as stack:
        pod.prepare(images.SALT, [claim["metadata"]["name"] for claim in stateful["volumeClaimTemplates"]])
        pod.start()
        stack.callback(lambda: engine.docker("rm", "--force", "kubelet-minion"))
        config = minion_config(engine.work / "kubelet" / "minion", pod.address)
        engine.docker("run", "--detach", "--name=kubelet-minion", f"--volume={config}:/minion", images.SALT, "salt-minion", "-c", "/minion")
        report.found("volumes", "root:450 mode 2777, Secrets and ConfigMaps as symlinks, read-only roots")
        _wait_until_ready(pod, made, report)
        key = pod.execute("salt-master", "cat", "/etc/salt/pki/master/master.pem")
        require(key == made.private_key, "the master did not take the key of the Secret")
        report.found("the master's key", "the Secret's, copied by the init container")
        _prove_isolation(pod, made, report)
        pod_identities.come_in(pod, made, report)
        documented.in_a_pod(engine, pod, made.rendered.notes, report)
        _test(engine, made, pod.address, report)
        _end_under_load(pod, _renewed(engine, pod, made, report), report)


def _wait_until_ready(pod: Pod, made: Release, report: Report) -> None:
    seconds = eventually("the master's startup probe", lambda: pod.probe("salt-master", "startupProbe"), START_SECONDS)
    eventually("the master's liveness probe", lambda: pod.probe("salt-master", "livenessProbe"), START_SECONDS)
    report.found("the master's probes", f"started after {seconds:.1f} s, and alive")
    eventually("/readyz", lambda: exchange(f"http://{pod.address}:{OPS_PORT}/readyz")[0] == 200, START_SECONDS)
    answered("the minion's answer", made, pod.address)
    report.found("test.ping through nginx in the pod, by TLS", made.ping(pod.address))
    plain = exchange(f"http://{pod.address}:{API_PORT}/")
    require(plain[0] == 0, f"the plain port is open beside TLS: {plain}")
    report.found("the plain port", plain[1])


def _prove_isolation(pod: Pod, made: Release, report: Report) -> None:
    status = pod.execute("salt-sidecar", "cat", "/proc/self/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    require(facts["CapEff"].strip("0") == "" and facts["NoNewPrivs"] == "1" and facts["Uid"].startswith("450"), f"not isolated: {facts}")
    secrets = pod.execute("salt-sidecar", "sh", "-c", "touch /x 2>&1; ls /secrets /etc/salt/conf.d /etc/salt/pki/master 2>&1; true")
    require("Read-only file system" in secrets and "master.pem" not in secrets, f"the sidecar sees too much: {secrets}")
    cache = pod.execute("salt-sidecar", "ls", "-A", "/var/cache/salt/master").split()
    require(cache == ["tokens"], f"the sidecar sees more of the master's cache than the tokens: {cache}")
    accepted = eventually("the sidecar counts the accepted key", lambda: _metric(made, pod.address, 'salt_minion_keys{state="accepted"}') == 1, START_SECONDS)
    report.found("keys", f"the sidecar counts them, after {accepted:.1f} s, and sees {pod.execute('salt-sidecar', 'ls', '/etc/salt/pki/master').split()}")
    report.found("the sidecar", "uid 450, no capability, no new privileges, read-only root, no key and no secret in sight")


def _test(engine: Engine, made: Release, address: str, report: Report) -> None:
    """Run what `helm test` would."""
    item = made.rendered.of("Pod")
    test = Pod(engine, "helm-test", item["spec"], made.objects, dict.fromkeys(SERVICES, address))
    with removed(test):
        test.prepare(images.SALT)
        said = test.run()
    require("all well" in said and "minions that answered: 1" in said, f"helm test: {said}")
    report.found("helm test", said.strip().splitlines()[-1])


def _renewed(engine: Engine, pod: Pod, made: Release, report: Report) -> Release:
    """Replace the certificate's Secret: nginx shows the new one to new callers, and nothing restarts."""
    renewed = dataclasses.replace(made, certificate=certificate(engine.work))
    require(renewed.ping(pod.address)[0] == 0, "the new certificate is there already")
    before = pod.starts()
    pod.renew("salt-sidecar-tls", renewed.certificate_files)
    seconds = answered("the minion's answer under the renewed certificate", renewed, pod.address)
    require(pod.starts() == before, f"started again: {before} {pod.starts()}")
    report.found("a renewed certificate", f"shown after {seconds:.1f} s, no container restarted")
    return renewed


def _end_under_load(pod: Pod, made: Release, report: Report) -> None:
    """End the pod while callers wait for a minion: each gets its answer, because the master outlives the sidecar."""
    answers: list[tuple[int, Any]] = []
    callers = [threading.Thread(target=lambda: answers.append(made.ping(pod.address, "test.sleep", 10))) for _ in range(4)]
    for caller in callers:
        caller.start()
    eventually("the jobs run", lambda: _in_flight(made, pod.address) >= len(callers))
    began = time.monotonic()
    codes = pod.terminate()
    for caller in callers:
        caller.join(600)
    require(answers == [(200, ANSWER)] * len(callers), f"callers lost their answers: {answers}")
    require(codes["salt-sidecar"] == 0, f"exit codes {codes}")
    report.found("end of the pod", f"{len(answers)} of {len(callers)} waiting callers answered; exit codes {codes}; {time.monotonic() - began:.1f} s")


def _in_flight(made: Release, address: str) -> float:
    """Return how many synchronous calls wait for their minions."""
    return _metric(made, address, 'salt_api_client_requests_in_flight{client="local"}')


def _metric(made: Release, address: str, series: str) -> float:
    """Return the value of a series, 0 if there is none."""
    _, text = exchange(f"http://{address}:{OPS_PORT}/metrics", token=made.token)
    lines = [line for line in str(text).splitlines() if line.startswith(f"{series} ")]
    return float(lines[0].split()[-1]) if lines else 0.0


def under_podman(engine: Engine, report: Report) -> None:
    """Play the rendered chart as a pod, with a minion in a container of its own; kill the master; run `helm test`."""
    made = release(engine.work, f"localhost/{images.SIDECAR}", f"localhost/{images.SALT}")
    podman = Podman(engine.work / "podman")
    try:
        podman.start(engine, images.SIDECAR, images.SALT)
        began = time.monotonic()
        podman.play(prepared(made.objects))
        report.found("podman play kube", f"{time.monotonic() - began:.1f} s")
        address = podman.address(podman.infra(NAME))
        config = minion_config(engine.work / "podman" / "minion", address)
        minion = ("--name=minion", f"--network={NETWORK}", f"--volume={config}:/minion", f"localhost/{images.SALT}", "salt-minion", "-c", "/minion")
        podman("run", "--detach", *minion)
        seconds = answered("the minion's answer", made, address)
        report.found("test.ping through the pod's address", f"{made.ping(address)} after {seconds:.1f} s")
        for container in ("salt-sidecar", "salt-master"):
            podman("healthcheck", "run", f"{NAME}-{container}")
        report.found("liveness probes", "well")
        _restart_the_master(podman, made, address, report)
        _test_under_podman(podman, made, address, report)
        podman.down(prepared(made.objects))
        require(podman("pod", "ps", "--quiet") == "", "the pod is still there")
    except StepFailed as exc:
        raise StepFailed(f"{exc}\n{podman.last_words()}") from None
    finally:
        podman.stop()
    require(not podman.work.exists(), f"left behind: {podman.work}")
    report.found("left behind by podman", "nothing")


def answered(what: str, made: Release, address: str) -> float:
    """Wait for the minion's answer to `test.ping`; return the seconds it took."""
    last: list[object] = []

    def well() -> bool:
        last[:] = [made.ping(address)]
        return last == [(200, ANSWER)]

    try:
        return eventually(what, well, START_SECONDS, pause=1)
    except StepFailed as exc:
        raise StepFailed(f"{exc}; the last one was {last}") from None


def _restart_the_master(podman: Podman, made: Release, address: str, report: Report) -> None:
    master, sidecar = f"{NAME}-salt-master", f"{NAME}-salt-sidecar"
    started = podman.inspect(sidecar)["State"]["StartedAt"]
    before = podman.inspect(master)["State"]
    # Not `podman kill`: what a person ended it does not start again.
    os.kill(before["Pid"], signal.SIGKILL)
    eventually("podman starts the master again", lambda: podman.inspect(master)["State"]["StartedAt"] != before["StartedAt"])
    seconds = answered("the minion's answer after the master's end", made, address)
    require(podman.inspect(sidecar)["State"]["StartedAt"] == started, "the sidecar was started again too")
    report.found("master killed", f"test.ping again after {seconds:.1f} s; the sidecar ran on")


def _test_under_podman(podman: Podman, made: Release, address: str, report: Report) -> None:
    item = made.rendered.of("Pod")
    podman.play([*prepared(item for item in made.objects if item["kind"] in {"ConfigMap", "Secret"}), pod_of(item, dict.fromkeys(SERVICES, address))])
    name = f"{NAME}-test-smoke"
    try:
        code = podman("wait", name, timeout=600).strip()
        said = podman("logs", name)
    finally:
        podman("pod", "rm", "--force", f"{NAME}-test")
    require(code == "0" and "all well" in said, f"helm test ended with {code}: {said}")
    report.found("helm test", said.strip().splitlines()[-1])


@contextlib.contextmanager
def removed(pod: Pod) -> Iterator[None]:
    """Remove the pod at the end; what its containers said last goes with a failure."""
    try:
        yield
    except StepFailed as exc:
        raise StepFailed(f"{exc}\n{pod.logs()}") from None
    finally:
        pod.remove()
