"""Options that change in a running process: each goes to the object that applies it, which also says what was applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from service.audit.faults import key_faults
from service.audit.trail import Audit
from service.auth.call_policy import CallPolicy
from service.auth.guard import Guard
from service.auth.rule_faults import policy_faults
from service.commands import Commands
from service.errors import InvalidConfiguration
from service.http.access import Access
from service.http.cors import Cors
from service.logins.reused_logins import ReusedLogins
from service.observe.log import log
from service.observe.report.report import Report
from service.settings import inherited, settings, sources
from service.settings.settings import Settings, value


class Applier:
    """
    Hands options over to somebody who can change in a running process.

    act: called at each reload. options: for each of its parameters the dotted name of the option it gets. It gets nothing else, so
    that an option that is not named here cannot be called applied.
    """

    def __init__(self, act: Callable[..., object], **options: str) -> None:
        self._act = act
        self._options = options
        self.takes = frozenset(options.values())

    def apply(self, ours: Settings) -> None:
        """Hand over the values of these settings."""
        self._act(**{parameter: value(ours, name) for parameter, name in self._options.items()})


def make_appliers(
    audit: Audit, commands: Commands, guard: Guard, lows: ReusedLogins, report: Report, *, rules: CallPolicy, access: Access, cors: Cors
) -> tuple[Applier, ...]:
    """Say who takes which options while we run."""
    return (
        Applier(log.set_level, level="log.level"),
        Applier(audit.adjust, mode="audit.mode", rules="audit.rules", hmac_key_file="audit.hmac_key_file"),
        Applier(
            commands.adjust,
            lows_per_request="limits.lows_per_request",
            deadline_seconds="jobs.deadline_seconds",
            metadata="jobs.metadata",
            include_target="log.include_target",
        ),
        Applier(
            guard.adjust,
            proven_seconds="limits.auth_proven_seconds",
            burst="limits.auth_failures_burst",
            per_minute="limits.auth_failures_per_minute",
            burst_overall="limits.auth_failures_burst_overall",
            per_minute_overall="limits.auth_failures_per_minute_overall",
            known_seconds="limits.auth_known_seconds",
        ),
        Applier(lows.logins.adjust, seconds="limits.auth_reuse_seconds", deadline_seconds="jobs.deadline_seconds"),
        Applier(rules.adjust, rules="policy.rules", refuse_master_writes="policy.refuse_master_writes"),
        Applier(report.adjust, rate_limited="limits.auth_failures_per_minute"),
        Applier(access.adjust, networks="access.networks", users="access.users", hosts="api.hosts"),
        Applier(cors.adjust, origins="cors.origins", credentials="cors.credentials", max_age_seconds="cors.max_age_seconds"),
    )


class Reloading:
    """The settings in force. master_raw: the master's options, of which we inherit; they stay as they were read at the start."""

    def __init__(self, ours: Settings, master_raw: Mapping[str, Any], appliers: Iterable[Applier], audit: Audit) -> None:
        self.settings = ours
        self._master_raw = master_raw
        self.appliers = appliers
        self._audit = audit
        self._log = log.get()

    def reload(self, environ: Mapping[str, str]) -> None:
        """Read the settings again and apply those that can change in a running process; keep all of the old ones if any is wrong."""
        try:
            new = _read(environ, self._master_raw)
        except InvalidConfiguration as exc:
            self._log.error("config.invalid", faults=[str(fault) for fault in exc.faults])
            return
        changed = settings.changed(self.settings, new)
        taken: frozenset[str] = frozenset()
        for applier in self.appliers:
            applier.apply(new)
            taken |= applier.takes
        self.settings = settings.with_options(self.settings, new, taken)
        applied = sorted(changed & taken)
        self._audit.note("reload", {"applied": applied})
        self._log.info("config.loaded", applied=applied, needs_restart=sorted(changed - taken))


def _read(environ: Mapping[str, str], master_raw: Mapping[str, Any]) -> Settings:
    """Read the settings again, with the faults of what may change: the policy, and the key file that a new setting may name."""
    new = sources.load(environ, inherited.inherit(master_raw))
    faults = policy_faults(new.policy.rules) + key_faults(new.audit)
    if faults:
        raise InvalidConfiguration(faults)
    return new
