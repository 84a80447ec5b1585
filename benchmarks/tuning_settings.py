"""The master's settings that `make tuning` tries, one at a time, and what one loses with each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

DEFAULTS = "defaults"


@dataclasses.dataclass(frozen=True)
class Setting:
    """
    One row: what is changed, from Salt's own defaults, and what that means to those who use the master.

    shown: how an operator writes it. master: options; a value with `{folder}` names the folder of the run.
    credentials: whether callers send a token, or name and password with each low.
    in_memory: the master's `cachedir` is on a tmpfs.
    """

    name: str
    shown: str
    costs: str
    master: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    credentials: Literal["token", "inline"] = "token"
    in_memory: bool = False


EVENT_FILE = {"event_return": "rawfile_json", "rawfile_json.filename": "{folder}/events.json"}
NO_JOB_CACHE = {"job_cache": False}

SETTINGS = (
    Setting(DEFAULTS, "Salt's defaults", "-"),
    Setting(
        "job-cache-off",
        "`job_cache: False`",
        "No return is kept on the master: `jobs.lookup_jid` and `/jobs/JID` know the job and no returns. "
        "Jobs of `/v1/jobs` have theirs in the sidecar's store; but what came while no sidecar ran is `unknown`.",
        NO_JOB_CACHE,
    ),
    Setting(
        "salt-cache",
        "`master_job_cache: salt_cache`",
        "Salt 3008 and later, for caches that masters share. Returns are not synced to the disk: a power cut loses the last ones. Jobs of before the change are not found any more.",
        {"master_job_cache": "salt_cache"},
    ),
    Setting(
        "memory",
        "`cachedir` on a tmpfs",
        "A reboot loses jobs, grains, mine and pillar caches, and tokens: callers log in again. It takes memory: 4 KB and two inodes for each return, for `keep_jobs_seconds`.",
        in_memory=True,
    ),
    Setting("threads-16", "`worker_threads: 16`", "Some 80 MB for each further worker.", {"worker_threads": 16}),
    Setting(
        "async-workers",
        "`master_async_mworker: True`",
        "Salt 3008 and later, off by default there: the newer way, less tried.",
        {"master_async_mworker": True},
    ),
    Setting(
        "event-return",
        "`event_return: rawfile_json`",
        "Nothing lost: all events are in a file. A process more reads the bus, and writes for each event.",
        EVENT_FILE,
    ),
    Setting(
        "event-return-queue",
        "the same with `event_return_queue: 100`",
        "A crash loses up to 100 events; they are written late, unless `event_return_queue_max_seconds` is set.",
        {**EVENT_FILE, "event_return_queue": 100, "event_return_queue_max_seconds": 5},
    ),
    Setting(
        "reader",
        "a `reactor`, here for a tag that never comes",
        "Nothing lost: what one more reader of the bus costs, whatever it does.",
        {"reactor": [{"never/comes": ["/never/comes.sls"]}]},
    ),
    # Nothing on the way of a return asks for these: one row shows it for both.
    Setting(
        "unconcerned",
        "`presence_events: True` and `minion_data_cache: False` at once",
        "Without minion data there are no targets by grain, pillar or address, and no mine.",
        {"presence_events": True, "minion_data_cache": False},
    ),
    Setting("log-info", "`log_level_logfile: info`", "Nothing lost: a line for each return.", {"log_level_logfile": "info"}),
    Setting(
        "unsigned",
        "`sign_pub_messages: False`",
        "**Do not.** Minions take jobs from whoever has the AES key, which every minion has.",
        {"sign_pub_messages": False},
    ),
    Setting(
        "inline",
        "name and password in each low, no token",
        "Nothing lost. Here with `sharedsecret`, which is the cheapest check of a password; PAM and LDAP cost far more.",
        credentials="inline",
    ),
    Setting("lean", "`job_cache: False` and `cachedir` on a tmpfs", "As these two.", NO_JOB_CACHE, in_memory=True),
)
