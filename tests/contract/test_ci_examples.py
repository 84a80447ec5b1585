"""config/ci: what each platform has for it judges the files, and what they have a shell run is run, against a fake master."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.demo.embedded import PATIENCE_SECONDS
from tests.contract.test_salt_ci import Pipeline, alone
from tests.contract.test_v1_jobs import fake
from tests.fakes import SECRET

__all__ = ["alone", "fake"]
pytestmark = pytest.mark.slow
Find = Callable[[str, str], str]
ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "config" / "ci"
JUDGE = ROOT / ".venv-pipelines" / "bin" / "check-jsonschema"
SCHEMAS = {
    "gitlab-ci.yml": ("gitlab-ci", "--data-transform", "gitlab-ci"),
    "action.yml": ("github-actions",),
    "github-actions.yml": ("github-workflows",),
}


def judged(schema: tuple[str, ...], file: Path) -> subprocess.CompletedProcess[str]:
    """Hold a file against a platform's schema, which check-jsonschema has with it."""
    if not JUDGE.exists():
        missing = "check-jsonschema is not installed: make clients"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    command = [str(JUDGE), "--builtin-schema", f"vendor.{schema[0]}", *schema[1:], str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_file_is_what_its_platform_takes(tmp_path: Path, name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    (tmp_path / name).write_text(re.sub(r"\b(script|runs|jobs):", r"\1x:", text, count=1))

    assert judged(SCHEMAS[name], EXAMPLES / name).returncode == 0
    assert judged(SCHEMAS[name], tmp_path / name).returncode == 1


def component(**given: str) -> tuple[str, str]:
    """Return the two documents of GitLab's component: what it takes, and the job that comes of it."""
    head, job = (EXAMPLES / "gitlab-component.yml").read_text(encoding="utf-8").split("\n---\n")
    inputs = {name: given.get(name, one.get("default", "")) for name, one in yaml.safe_load(head)["spec"]["inputs"].items()}
    return head, re.sub(r"\$\[\[ inputs\.(\w+) \]\]", lambda found: inputs[found[1]], job)


def test_the_component_is_what_gitlab_takes_and_names_what_it_uses(tmp_path: Path) -> None:
    head, job = component(arguments="'web*' app")
    (tmp_path / "head.yml").write_text(head)
    (tmp_path / "job.yml").write_text(job)

    assert [judged(SCHEMAS["gitlab-ci.yml"], tmp_path / name).stdout.strip() for name in ("head.yml", "job.yml")] == ["ok -- validation done"] * 2
    assert yaml.safe_load(job)["salt"]["variables"]["SALT_ARGUMENTS"]["value"] == "'web*' app"


def steps_of(groovy: str, file: str = "Jenkinsfile", **given: Any) -> list[dict[str, Any]]:
    """Run a Jenkinsfile, or a step with what it is given, as Groovy; return what the steps in it are given."""
    command = [groovy, str(Path(__file__).with_name("jenkins.groovy")), str(EXAMPLES / file), *([json.dumps(given)] if given else [])]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
    return [json.loads(line) for line in said.stdout.splitlines()]


def test_the_jenkinsfile_is_groovy_and_shows_its_report_whatever_happens(program: Find) -> None:
    steps = {step["path"]: (step["step"], step["arguments"]) for step in steps_of(program("groovy", "groovy"))}

    assert steps["pipeline/stages/stage deploy/when"] == ("branch", ["main"])
    assert steps["pipeline/stages/stage deploy/post/always"] == ("junit", [{"allowEmptyResults": True, "testResults": "report.xml"}])


def script_of(example: str, find: Find) -> tuple[str, dict[str, str]]:
    """Return what an example of config/ci has a shell run, and what it puts into the environment."""
    if example == "Jenkinsfile":
        (step,) = [one for one in steps_of(find("groovy", "groovy")) if one["step"] == "sh"]
        assert step["environ"] == {"SALT_API_URL": "credentials:salt-api-url", "SALT_API": "credentials:salt-api"}
        return step["arguments"][0], {"SALT_API_USR": "demo", "SALT_API_PSW": SECRET}
    if example == "salt.groovy":
        who, step = steps_of(find("groovy", "groovy"), example, url="$URL", credentials="salt-api", arguments=["web*", "it's app", "--deadline=60"])
        assert who["arguments"] == [{"credentialsId": "salt-api", "usernameVariable": "SALT_API_USER", "passwordVariable": "SALT_API_PASSWORD"}]
        assert (step["path"], step["environ"]) == ("withCredentials/withEnv", {"SALT_API_URL": "$URL"})
        return step["arguments"][0], {}
    if example == "gitlab-component.yml":
        job = yaml.safe_load(component(arguments="'web*' \"it's app\" --deadline 60")[1])["salt"]
        return "set -e\n" + "\n".join(job["script"]), {name: value["value"] if isinstance(value, dict) else value for name, value in job["variables"].items()}
    text = (EXAMPLES / example).read_text(encoding="utf-8")
    if example == "gitlab-ci.yml":
        return "set -e\n" + "\n".join(yaml.safe_load(text)["deploy"]["script"]), {}
    (step,) = yaml.safe_load(text)["runs"]["steps"]
    assert step["shell"] == "bash"
    (used,) = [one["with"] for one in yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())["jobs"]["deploy"]["steps"] if "with" in one]
    inputs = {name: used.get(name, given.get("default", "")) for name, given in yaml.safe_load(text)["inputs"].items()}
    environ = {name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: str(inputs[found[1]]), value) for name, value in step["env"].items()}
    return step["run"], {name: value for name, value in environ.items() if "secrets." not in value}


@pytest.mark.parametrize("example", ["action.yml", "gitlab-ci.yml", "gitlab-component.yml", "Jenkinsfile", "salt.groovy"])
@pytest.mark.parametrize(("target", "code"), [("web*", 2), ("minion-1", 1)])
def test_the_examples_run(alone: Pipeline, program: Find, example: str, target: str, code: int) -> None:
    script, environ = script_of(example, program)
    account = {"SALT_TOKEN": "", "SALT_API_USER": "demo", "SALT_API_PASSWORD": SECRET, "RUNNER_TEMP": str(alone.folder)}
    given = {**alone.environ, **account, **environ, "SALT_API_EAUTH": "sharedsecret"}

    run = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script.replace("web*", target)],
        cwd=alone.folder, env={name: value.replace("web*", target) for name, value in given.items()}, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip

    assert run.returncode == code, run
    assert re.search(r"^job \d{20}: (no_match|failed)", run.stdout, re.MULTILINE), run


@pytest.mark.parametrize(("target", "code", "said"), [("minion-1", 1, '"status":"failed"'), ("web*", 1, "no_match"), ('x","fun":"cmd.run', 64, "quotes")])
def test_curl_alone_fails_when_the_job_does(alone: Pipeline, target: str, code: int, said: str) -> None:
    command = [str(EXAMPLES / "curl.sh"), "step-1", target, "app"]
    run = subprocess.run(command, cwd=alone.folder, env=alone.environ, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)

    assert run.returncode == code, run
    assert said in (run.stdout + run.stderr).replace(" ", ""), run
