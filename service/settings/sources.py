"""Where settings come from: environment, file and master configuration, laid over each other and validated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from service.errors import ConfigFault, InvalidConfiguration, did_you_mean, one_of
from service.settings.inherited import Inherited
from service.settings.locations import CONFIG_VARIABLE, ENV_PREFIX, NO_SUCH_FILE, environ_name, settings_path
from service.settings.option_types import Group
from service.settings.settings import Settings, options


def load(environ: Mapping[str, str], inherited: Inherited | None = None) -> Settings:
    """
    Merge all sources and validate them.

    inherited: what the master configuration says.
    Raises InvalidConfiguration with every fault of every source.
    """
    from_file, faults = _read_file(environ)
    from_environ, unknown = _read_environ(environ)
    from_master = inherited or Inherited()
    try:
        settings = Settings.model_validate(_merged(from_master.values, from_file, from_environ))
    except ValidationError as exc:
        origins = _origins(from_master.sources, from_file, from_environ)
        faults += [_fault_of(error, origins) for error in exc.errors()]
    if faults or unknown:
        raise InvalidConfiguration(faults + unknown)
    return settings


def told_by(environ: Mapping[str, str], inherited: Inherited) -> dict[str, str]:
    """Return the source of each option that is not at its default, by its dotted name."""
    from_file, _ = _read_file(environ)
    from_environ, _ = _read_environ(environ)
    told = {"master configuration": _names(inherited.values), str(settings_path(environ)): _names(from_file), "environment": _names(from_environ)}
    return {dotted: source for source, names in told.items() for dotted in names}


def _names(source: Mapping[str, Any]) -> list[str]:
    return [f"{group}.{name}" for group, values in source.items() if isinstance(values, Mapping) for name in values]


def _merged(*sources: Mapping[str, Any]) -> dict[str, Any]:
    """Lay the sources over each other, the strongest last; what is no section stays, to be found a fault."""
    merged: dict[str, Any] = {}
    for source in sources:
        for group, values in source.items():
            below = merged.get(group, {})
            if values is None or not isinstance(below, dict):
                continue  # None: a section whose options are all commented out
            merged[group] = {**below, **values} if isinstance(values, Mapping) else values
    return merged


def _origins(sources: Mapping[str, str], from_file: Mapping[str, Any], from_environ: Mapping[str, Any]) -> dict[str, str]:
    """Return where an option was set, by its dotted name; one that is not here is in sidecar.yaml. sources: of what the master says."""
    in_file = set(_names(from_file))
    origins = {dotted: f"{name} in the master configuration" for dotted, name in sources.items() if dotted not in in_file}
    return origins | {dotted: environ_name(dotted) for dotted in _names(from_environ)}


def _read_file(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[ConfigFault]]:
    path = settings_path(environ)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as exc:
        if exc.errno in NO_SUCH_FILE and CONFIG_VARIABLE not in environ:
            return {}, []
        return {}, [ConfigFault(str(path), f"cannot be read ({exc.strerror})", f"create it, or correct {CONFIG_VARIABLE}")]
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        # Their own words quote the file, which may hold a secret.
        mark = getattr(exc, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "characters that no text has"
        return {}, [ConfigFault(str(path), f"is not YAML ({place})", "correct the syntax")]
    if not isinstance(content, dict):
        return {}, [ConfigFault(str(path), "is not a mapping of sections", "write `api:`, `limits:` and so on at the top level")]
    return content, []


def _read_environ(environ: Mapping[str, str]) -> tuple[dict[str, dict[str, Any]], list[ConfigFault]]:
    known = {environ_name(dotted): dotted for dotted in options()}
    found: dict[str, dict[str, Any]] = {}
    unknown = []
    for variable in sorted(name for name in environ if name.startswith(ENV_PREFIX) and name != CONFIG_VARIABLE):
        if variable not in known:
            unknown.append(_unknown(variable, did_you_mean(variable, [CONFIG_VARIABLE, *known], ENV_PREFIX)))
            continue
        group, name = known[variable].split(".")
        found.setdefault(group, {})[name] = _from_text(environ[variable])
    return found, unknown


def _from_text(text: str) -> Any:
    """Return the value of a variable; an option that is a mapping is written as JSON there."""
    if not text.startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _fault_of(error: Mapping[str, Any], origins: Mapping[str, str]) -> ConfigFault:
    """Say which option is wrong and where it came from; the value itself stays out, it may be a secret."""
    dotted = ".".join(str(part) for part in error["loc"])
    option = ".".join(dotted.split(".")[:2])
    where = origins.get(option, dotted)
    if error["type"] == "extra_forbidden":
        return _unknown(where, _nearest_option(error["loc"]), "" if where == dotted else f" {dotted}")
    problem = str(error["msg"]).removeprefix("Value error, ")
    within = "" if dotted in {where, option} else f"{dotted}: "
    return ConfigFault(where, within + problem[:1].lower() + problem[1:], f"see {option} in docs/settings.md")


def _unknown(where: str, question: str, which: str = "") -> ConfigFault:
    return ConfigFault(where, f"no such option{which}", f"{question}{'See' if question else 'remove it, or see'} docs/settings.md for the names")


def _nearest_option(loc: Sequence[int | str]) -> str:
    """Ask whether another option was meant: one of the same name in another section, else one of this section with a similar name."""
    name = str(loc[-1])
    return one_of(dotted for dotted in options() if dotted.split(".")[1] == name) or did_you_mean(name, _group_at(loc[:-1]).model_fields)


def _group_at(loc: Sequence[int | str]) -> type[Group]:
    """Return the section at a place; what stands there besides names of options are positions in lists and keys of mappings."""
    group: type[Group] = Settings
    for part in loc:
        if part in group.model_fields:
            group = _group_in(group.model_fields[str(part)].annotation) or group
    return group


def _group_in(annotation: object) -> type[Group] | None:
    """Return the section that a type is, or holds: that of each rule in a list, for one."""
    if isinstance(annotation, type) and issubclass(annotation, Group):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _group_in(inner))), None)
