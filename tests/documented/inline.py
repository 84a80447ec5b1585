"""What is declared about commands in a line, by page. In blocks the same words stand in the line before them: tests/documented/test_accounted.py has the rules."""

from __future__ import annotations

EVERYWHERE = "on any page"
_A_NAME = "not run: it names the command, and is none"
_COMPOSED = "run by: tests/e2e/composed.py: "
_PACKAGED = "run by: tests/e2e/packaged.py: "
_APT = "not run: packages of Debian; .ci/run installs them"

INLINE: dict[str, dict[str, str]] = {
    EVERYWHERE: dict.fromkeys(("helm template", "helm test", "helm upgrade", "helm rollback", "kubectl rollout undo", "kubectl describe pod"), _A_NAME),
    "README.md": {
        "apt-get install git ca-certificates curl make gcc libc6-dev python3-dev python3-venv": "run by: tests/e2e/fresh.py: named_packages()",
        "docker compose up --detach --wait": "run: compose",
    },
    "CONTRIBUTING.md": {
        "apt-get install prometheus prometheus-alertmanager": _APT,
        "python -m benchmarks.fleet --help": "run: here",
        "python -m benchmarks.crowd --help": "run: here",
    },
    "docs/architecture.md": {
        """salt-run jobs.list_jobs search_metadata='{"request_id": "..."}'""": "run: master",
    },
    "docs/install-compose.md": {
        "docker compose exec grafana cat /run/grafana-secret/password": "not run: Grafana's image comes from a registry",
        "docker compose up --detach && docker compose restart salt-master": _COMPOSED + '"restart", "salt-master"',
        "docker compose up init": "run: compose",
        "docker compose up init init-2": 'run by: tests/e2e/clustered.py: "init", "init-2"',
        "docker compose up --detach salt-master salt-master-2": 'run by: tests/e2e/clustered.py: "up", "--detach", "--no-build", *MASTERS',
        "docker compose up --detach --force-recreate sidecar": _COMPOSED + '"--force-recreate", "--no-deps", "sidecar"',
        "docker compose exec salt-master salt-key -A": "run: compose",
        "docker build": _A_NAME,
        "docker buildx build --platform linux/arm64": "not run: needs a registry and an emulator",
        "docker buildx imagetools inspect NAME:TAG": "not run: asks a registry",
        "docker image inspect --format '{{.RootFS.Layers}}' salt:0.1.0-salt3008.3": "run by: tests/e2e/images.py: inspect",
        "docker run ... salt-sidecar check": "not run: an outline; what stands for ... is yours",
    },
    "docs/install-kubernetes.md": {
        "kubectl rollout restart statefulset/salt-salt-sidecar": "not run: needs a cluster",
        "kubectl exec POD -c salt-sidecar -- env SIDECAR_API_PORT=0 SIDECAR_OPS_PORT=0 salt-sidecar check": "run: kubernetes",
    },
    "docs/install-package.md": {
        "apt-get install gcc libc6-dev python3-dev python3-venv": _APT,
        "curl localhost:9175/readyz": _PACKAGED + "localhost:9175/readyz",
        "journalctl -t salt-sidecar -o cat": _PACKAGED + "journalctl -t salt-sidecar -o cat",
        "systemctl edit salt-sidecar": "not run: opens an editor",
        "systemctl reload salt-sidecar": _PACKAGED + "systemctl reload salt-sidecar",
        "systemctl start": _A_NAME,
        "systemctl stop salt-sidecar": _PACKAGED + "systemctl stop salt-sidecar",
    },
    "docs/migrate.md": {
        "SIDECAR_API_PORT=8001 salt-sidecar serve": "run by: tests/real/sidecar.py: serve",
        "curl -s localhost:8001/login -d username=U -d password=P -d eauth=pam": 'run by: tests/e2e/eauth.py: "/login"',
    },
    "docs/monitoring.md": {
        "docker compose --profile monitoring up --detach": _COMPOSED + '"monitoring"',
        "promtool test rules config/prometheus/tests/*.yaml": 'run by: tests/observe/test_rules.py: "test", "rules"',
        "apt-get install --no-install-recommends prometheus prometheus-alertmanager": _APT,
        "amtool check-config config/prometheus/alertmanager.yml": 'run by: tests/observe/test_rules.py: "check-config", path',
    },
    "docs/operations.md": {
        "systemctl reload salt-sidecar": _PACKAGED + "systemctl reload salt-sidecar",
        "docker compose up": _A_NAME,
        "docker compose run --rm --no-deps --entrypoint sh init -c 'rm /etc/salt/secrets/eauth'": "run: compose",
        "docker compose exec salt-master salt-key": "run: compose",
        "docker compose kill -s HUP": "not run: it is what not to do",
        "kubectl exec POD -c salt-sidecar -- sh -c 'kill -HUP 1'": "run: kubernetes",
        "docker compose restart nginx": "not run: it restarts nginx, which tests/e2e/composed.py replaces",
    },
    "docs/performance.md": dict.fromkeys(
        (
            "python -m benchmarks.run --only followers-1000,followed-200",
            "python -m benchmarks.run --only jobs-16,jobs-long-16 --rounds 4",
            "python -m benchmarks.run --only jobs-sized-1000 --rounds 3",
        ),
        "not run: minutes of load, as `make bench`",
    ),
    "docs/runbooks/SaltAPIAuthFailureSpike.md": {
        "master salt -a BACKEND '*' test.ping": "not run: it asks a person for a name and a password",
    },
    "docs/runbooks/SaltAPIDown.md": {
        "py-spy dump --pid PID": "not run: py-spy is not ours to install",
    },
    "docs/settings.md": {
        "salt-sidecar audit-verify": _A_NAME,
    },
}
