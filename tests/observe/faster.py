"""
The very rules of config/prometheus, and its Alertmanager's example, in quick motion.

Nobody waits a quarter of an hour for an alert to show that it works. So every time in a rule, its range (`[5m]`), its `for` and `keep_firing_for`, and its group's interval,
is divided by one factor; thresholds, counts and expressions stay as they are, and so do names (`rate5m` then is a rate over 5 s).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

FACTOR = 60
# One scrape and one evaluation a second: five of each in the shortest range.
TICK = "1s"
# What a chart's release would say of its sidecar.
RELEASE = {"release": "story"}
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART = re.compile(r"(\d+)(ms|[smhd])")


def shortened(duration: str, factor: int = FACTOR) -> str:
    """Return a duration divided by the factor, at least one second."""
    milliseconds = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(duration))
    return f"{max(1_000, milliseconds // factor)}ms"


def faster_rules(text: str, factor: int = FACTOR) -> str:
    """Return the text of a rule file in quick motion."""
    content: dict[str, Any] = yaml.safe_load(text)
    for group in content["groups"]:
        group["interval"] = TICK
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[(\w+)\]", lambda match: f"[{shortened(match[1], factor)}]", rule["expr"])
            rule |= {name: shortened(rule[name], factor) for name in ("for", "keep_firing_for") if name in rule}
    return yaml.safe_dump(content, sort_keys=False)


def faster_configuration(text: str, target: str, alertmanager: str, tick: str) -> str:
    """Return the example configuration in quick motion, for one sidecar at *target*. tick: how often it is scraped."""
    content: dict[str, Any] = yaml.safe_load(text)
    content["global"] = {"scrape_interval": tick, "evaluation_interval": tick}
    (manager,) = content["alerting"]["alertmanagers"]
    manager["static_configs"] = [{"targets": [alertmanager]}]
    (job,) = content["scrape_configs"]
    job["static_configs"] = [{"targets": [target], "labels": RELEASE}]
    del job["file_sd_configs"]
    return yaml.safe_dump(content, sort_keys=False)


def with_addresses(text: str) -> str:
    """Return alertmanager.yml with the webhooks that stand in it as comments."""
    return re.sub(r"^    # ((?:webhook_configs:|  ).*)$", r"    \1", text, flags=re.MULTILINE)


def faster_notices(text: str, url: str, factor: int = FACTOR) -> str:
    """Return alertmanager.yml in quick motion; each receiver is told below *url*, by its name, of all that is new within a tick: some alerts of the story are short."""
    content: dict[str, Any] = yaml.safe_load(text)
    for route in (content["route"], *content["route"]["routes"]):
        route |= {"group_wait": TICK, "group_interval": TICK, "repeat_interval": shortened(route["repeat_interval"], factor)}
    for receiver in content["receivers"]:
        receiver["webhook_configs"] = [{"url": f"{url}{receiver['name']}"}]
    return yaml.safe_dump(content, sort_keys=False)


def write_faster(source: Path, folder: Path, target: str, alertmanager: str, tick: str) -> Path:
    """Write configuration and rules in quick motion below *folder*; return the configuration's path."""
    (folder / "rules").mkdir(parents=True)
    for path in (source / "rules").glob("*.yaml"):
        (folder / "rules" / path.name).write_text(faster_rules(path.read_text(encoding="utf-8")), encoding="utf-8")
    configuration = folder / "prometheus.yml"
    configuration.write_text(faster_configuration((source / "prometheus.yml").read_text(encoding="utf-8"), target, alertmanager, tick), encoding="utf-8")
    return configuration


def write_faster_notices(source: Path, folder: Path, url: str) -> Path:
    """Write who is told of alerts, in quick motion, below *folder*; return its path."""
    configuration = folder / "alertmanager.yml"
    configuration.write_text(faster_notices((source / "alertmanager.yml").read_text(encoding="utf-8"), url), encoding="utf-8")
    return configuration
