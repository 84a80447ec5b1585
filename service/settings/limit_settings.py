"""The options that bound what runs at one time, who gets how much of it, and how often logins may fail."""

from __future__ import annotations

from pydantic import Field

from service.settings.option_types import RELOADABLE, Group, Seconds, Slots


class LimitSettings(Group):
    """Limits on what runs at one time, and on failed logins."""

    sync_jobs: Slots = Field(
        256, description="Most requests of one user that wait for minions or runners at one time; `limits.share` says what others get beside it."
    )
    quick_calls: Slots = Field(
        32, description="Most requests of one user at one time that wait for the master only: asynchronous publishes, wheel, look-ups of tokens, webhooks."
    )
    share: float = Field(
        0.85,
        ge=0.5,
        le=1,
        description="Share of the slots left by others that one address may hold, and one user of those left to its address: of synchronous jobs, quick calls and event streams each. "
        "So that nobody is refused before their limits are reached, there are more slots than these say: with 0.85 two fifths more; 1: none, first come, first served.",
    )
    unproven_calls: Slots = Field(
        128,
        description="Most requests at one time whose credentials the master has not accepted lately (`limits.auth_proven_seconds`). Until it has they hold none of the other slots.",
    )
    lows_per_request: int = Field(100, ge=1, description="Most lows in one request.", json_schema_extra=RELOADABLE)
    auth_concurrency: int = Field(
        2,
        ge=1,
        description="Most authentications with unproven credentials at one time; half of them, one at least, for addresses from which nobody has logged in lately. A failed one occupies a worker of the master for a second.",
    )
    auth_failures_burst: int = Field(
        3,
        ge=1,
        description="Failed authentications allowed at once to an address and to a user, and to an address at a webhook's path; then the next one has to wait.",
        json_schema_extra=RELOADABLE,
    )
    auth_failures_burst_overall: int = Field(
        30,
        ge=1,
        description="Failed authentications allowed at once to all addresses together that have not failed in the last day. Those that have may fail together as often as two of them could alone.",
        json_schema_extra=RELOADABLE,
    )
    auth_failures_per_minute: float = Field(
        6.0,
        gt=0,
        description="Failed authentications allowed each minute to an address and to a user, once `limits.auth_failures_burst` is used up.",
        json_schema_extra=RELOADABLE,
    )
    auth_failures_per_minute_overall: float = Field(
        30.0,
        gt=0,
        description="Failed authentications allowed each minute to all addresses together that have not failed in the last day, once `limits.auth_failures_burst_overall` is used up; each failure slows every caller of the master.",
        json_schema_extra=RELOADABLE,
    )
    auth_ipv4_prefix: int = Field(
        32, ge=8, le=32, description="Bits of an IPv4 address that count for the limits on failed authentications: with 24, its /24 is one address."
    )
    auth_ipv6_prefix: int = Field(
        64, ge=16, le=128, description="Bits of an IPv6 address that count for the limits on failed authentications: whoever has one address has a whole /64."
    )
    auth_known_seconds: Seconds = Field(
        86_400.0,
        description="Seconds after a login that worked in which its address, and its user there, do not wait for failures from other addresses.",
        json_schema_extra=RELOADABLE,
    )
    auth_proven_seconds: Seconds = Field(
        900.0,
        description="Seconds that credentials which worked are exempt from the limits on failed authentications; the master still checks them every time.",
        json_schema_extra=RELOADABLE,
    )
    auth_reuse_seconds: float = Field(
        0.0,
        ge=0,
        le=60,
        description="Seconds for which a login with the name and password of a low is used for further lows with the same ones, as a token in memory only; so long may a changed password, or a lost right, go unnoticed. 0: the master checks them every time.",
        json_schema_extra=RELOADABLE,
    )
