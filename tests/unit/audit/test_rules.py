"""The audit rules: the first that fits decides, and what nobody thought of is recorded."""

from __future__ import annotations

from typing import Any

from service.audit.rules import METADATA, NONE, REQUEST, Rules, Subject
from service.settings.audit_settings import AuditRule, AuditSettings


def rules(*given: dict[str, Any]) -> Rules:
    return Rules([AuditRule.model_validate(one) for one in given])


def test_the_first_rule_that_fits_decides_and_without_one_it_is_metadata() -> None:
    some = rules(
        {"level": "none", "clients": ["local*"], "functions": "test.*"},
        {"level": "request", "groups": ["ops"]},
        {"level": "none", "users": ["robot-*"], "routes": ["/minions*"]},
    )
    ping, run = ("test.ping",), ("cmd.run",)
    cases = [
        (Subject("local_async", ping, "a", (), "/"), NONE),
        (Subject("runner", ping, "a", (), "/"), METADATA),
        (Subject("local", run, "a", ("users", "ops"), "/"), REQUEST),
        (Subject("local", ping, "a", ("ops",), "/"), NONE),
        (Subject("local", run, "robot-1", (), "/minions/{mid}"), NONE),
        (Subject("local", run, "robot-1", (), "/run"), METADATA),
        (Subject("", (), "robot-1", (), "/minions"), NONE),
        (Subject(), METADATA),
    ]
    for subject, level in cases:
        assert some.level(subject) == level, subject
    assert rules().level(Subject()) == METADATA


def test_a_harmless_function_hides_no_other_of_a_compound_command() -> None:
    some = rules({"level": "none", "functions": ["test.*"]}, {"level": "request", "functions": ["cmd.*"]})

    assert some.level(Subject("local", ("test.ping", "cmd.run"))) == REQUEST
    assert some.level(Subject("local", ("test.ping", "test.echo"))) == NONE


def test_by_default_reads_are_not_recorded_and_everything_else_is() -> None:
    usual = Rules(AuditSettings().rules)
    reads = [("local", "test.ping"), ("local_batch", "grains.items"), ("runner", "jobs.list_jobs"), ("wheel_async", "key.list_all")]
    # What shows the returns of other people's jobs.
    others = [("runner", f"jobs.{name}") for name in ("last_run", "list_job", "lookup_jid", "print_job")]
    changes = [
        ("local", "cmd.run"),
        ("local", "state.apply"),
        ("runner", "manage.down"),
        ("runner", "test.ping"),
        ("wheel", "key.accept"),
        ("local", "key.list_all"),
        ("", ""),
    ]

    assert {usual.level(Subject(client, (fun,))) for client, fun in reads} == {NONE}
    assert {usual.level(Subject(client, (fun,))) for client, fun in changes + others} == {METADATA}
