"""Writes what the chart derives from elsewhere: schema and README table from values.yaml, settings from service, its icon, copies of rules, dashboards and scripts."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "salt-sidecar"
# Helm packages what is inside the chart only, and not every tool follows symlinks: so these are copies.
COPIES = (
    ("files/rules", "config/prometheus/rules", "*.yaml"),
    ("files/dashboards", "config/grafana/dashboards", "*.json"),
    ("files/scripts", "config/compose", "master-ping.py"),
    ("files/scripts", "config/compose", "cluster-propose.sh"),
    ("files/scripts", "config/nginx", "serve-tls.sh"),
    ("files/runbooks", "docs/runbooks", "*.md"),
)
# What templates/monitoring.yaml replaces in the rules: several releases share one Prometheus, and each alerts of itself alone.
OF_RELEASE = "OF_RELEASE"
SERIES = re.compile(r"(?<![\w:\"])(up|ALERTS|(?:salt|process)_\w+|\w+:salt_[\w:]+)\b(?!\()(\{)?")
KEY = re.compile(r"\s*(?:- )?(\w+):(?: |$)")
ICON = re.compile(r"^icon: .*$", re.MULTILINE)
TABLE = re.compile(r"(<!-- values -->\n).*?(<!-- /values -->)", re.DOTALL)
TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


class Value:
    """A key of values.yaml: where it is, what is said of it, what is in it."""

    def __init__(self, path: tuple[str, ...], text: str, schema: dict[str, Any], default: Any, children: list[Value]) -> None:
        self.path = path
        self.text = text
        self.schema = schema
        self.default = default
        self.children = children

    @property
    def is_leaf(self) -> bool:
        return bool(self.text)


def values_of(path: Path) -> list[Value]:
    """Read values.yaml with its comments."""
    text = path.read_text(encoding="utf-8")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        raise SystemExit(f"{path} is no mapping")
    return list(_children(node, text.splitlines(), ()))


def _children(node: yaml.MappingNode, lines: list[str], above: tuple[str, ...]) -> Iterator[Value]:
    for key, value in node.value:
        path = (*above, key.value)
        text, schema = _comment(lines, key.start_mark.line, path)
        inside = list(_children(value, lines, path)) if isinstance(value, yaml.MappingNode) and not text else []
        if not text and not inside:
            raise SystemExit(f"values.yaml: {'.'.join(path)} has no comment that begins with `# --`")
        yield Value(path, text, schema, yaml.safe_load(yaml.serialize(value)), inside)


def _comment(lines: list[str], line: int, path: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Return the text and the schema in the comment right above a line."""
    above: list[str] = []
    while line > 0 and lines[line - 1].strip().startswith("#"):
        line -= 1
        above.insert(0, lines[line].strip().lstrip("#").strip())
    texts = [text.removeprefix("-- ") for text in above if text.startswith("-- ")]
    schemas = [text.removeprefix("@schema ") for text in above if text.startswith("@schema ")]
    try:
        return " ".join(texts), json.loads(schemas[0]) if schemas else {}
    except ValueError as exc:
        raise SystemExit(f"values.yaml: the schema of {'.'.join(path)} is no JSON: {exc}") from exc


def schema_of(values: list[Value]) -> dict[str, Any]:
    """Return the schema of all values; what is not named is refused at every level."""
    shapes = json.loads((ROOT / "helm" / "shapes.json").read_text(encoding="utf-8"))
    settings, parts = settings_schema()
    # Helm puts `global` into every chart's values when it is a part of another one, with whatever others read there.
    top = _object(values)
    top["properties"]["global"]["additionalProperties"] = True
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "salt-sidecar", **top, "$defs": {**shapes, **parts, "settings": settings}}


def _object(values: list[Value]) -> dict[str, Any]:
    properties = {value.path[-1]: _property(value) for value in values}
    # Helm takes a key that somebody sets to null away, and a template would stumble over what is no longer there. What is empty by default may go.
    needed = [value.path[-1] for value in values if value.default not in ("", {}, [], None) and "probe" not in value.schema.get("$ref", "")]
    return {"type": "object", "additionalProperties": False, "required": needed, "properties": properties}


def _property(value: Value) -> dict[str, Any]:
    if not value.is_leaf:
        return _object(value.children)
    described: dict[str, Any] = {"description": value.text}
    if "$ref" not in value.schema and "enum" not in value.schema:
        described["type"] = TYPES[type(value.default)]
    return {**described, **value.schema}


def settings_schema() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of the sidecar's settings, and that of its sections."""
    from service.settings.settings import Settings  # noqa: PLC0415 - the only part that needs the sidecar's environment

    schema = _without(Settings.model_json_schema(), {"title", "default", "reloadable"})
    parts: dict[str, Any] = schema.pop("$defs")
    return schema, parts


def _without(node: Any, names: set[str]) -> Any:
    """Drop what says nothing here. `default` would have to be kept in step with the chart's own; a property may be called like one of them."""
    if isinstance(node, list):
        return [_without(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: item for key, item in node.items() if key not in names}
    return {
        key: {name: _without(part, names) for name, part in item.items()} if key in {"properties", "$defs"} else _without(item, names)
        for key, item in kept.items()
    }


def table_of(values: list[Value]) -> str:
    """Return README's table."""
    rows = ["| value | default | meaning |", "|---|---|---|"]
    rows += [f"| `{'.'.join(leaf.path)}` | {_default(leaf.default)} | {_meaning(leaf)} |" for leaf in _leaves(values)]
    return "\n".join(rows) + "\n"


def _leaves(values: list[Value]) -> Iterator[Value]:
    for value in values:
        if value.is_leaf:
            yield value
        else:
            yield from _leaves(value.children)


def _default(value: Any) -> str:
    text = json.dumps(value)
    return f"`{text}`" if len(text) <= 60 else "see `values.yaml`"


def _meaning(value: Value) -> str:
    choices = value.schema.get("enum")
    text = f"{value.text} One of {', '.join(f'`{choice}`' for choice in choices if choice)}." if choices else value.text
    return text.replace("|", "\\|")


def generated() -> dict[Path, str]:
    """Return every generated file and what has to be in it."""
    values = values_of(CHART / "values.yaml")
    readme = CHART / "README.md"
    files = {
        CHART / "values.schema.json": json.dumps(schema_of(values), indent=1) + "\n",
        readme: TABLE.sub(lambda match: match[1] + table_of(values) + match[2], readme.read_text(encoding="utf-8")),
    }
    return files | {CHART / "Chart.yaml": with_icon((CHART / "Chart.yaml").read_text(encoding="utf-8"))} | copies()


def with_icon(chart: str) -> str:
    """Return Chart.yaml with the picture in it: an archive is read without the files around it, and there is no address to fetch one from."""
    picture = base64.b64encode((CHART / "icon.svg").read_bytes()).decode()
    return ICON.sub(f"icon: data:image/svg+xml;base64,{picture}", chart)


def copies() -> dict[Path, str]:
    """Return what the chart has copies of."""
    found = {
        CHART / folder / path.name: path.read_text(encoding="utf-8") for folder, source, pattern in COPIES for path in sorted((ROOT / source).glob(pattern))
    }
    return {path: rules_of_a_release(text) if path.parent.name == "rules" else text for path, text in found.items()}


def rules_of_a_release(text: str) -> str:
    """Return a file of rules whose every selector says that its series are of one release; the template names that."""
    lines, in_expr = [], False
    for line in text.splitlines(keepends=True):
        key = KEY.match(line)
        in_expr = key[1] == "expr" if key else in_expr
        lines.append(SERIES.sub(_of_release, line) if in_expr and not line.strip().startswith("#") else line)
    return "".join(lines)


def _of_release(match: re.Match[str]) -> str:
    return f"{match[1]}{{{OF_RELEASE}{',' if match[2] else '}'}"


def outdated(files: dict[Path, str]) -> list[Path]:
    """Return which of the files are not what they have to be, and the copies whose originals are gone."""
    changed = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    return changed + [path for folder, _, pattern in COPIES for path in sorted((CHART / folder).glob(pattern)) if path not in files]


def main() -> int:
    """Write the files; with `--check` only say which are not what they have to be."""
    files = generated()
    wrong = outdated(files)
    if "--check" in sys.argv[1:]:
        for path in wrong:
            print(f"{path.relative_to(ROOT)} is out of date: run `make docs`")
        return 1 if wrong else 0
    for path in wrong:
        if path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
        else:
            path.unlink()
        print(f"{'wrote' if path in files else 'removed'} {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
