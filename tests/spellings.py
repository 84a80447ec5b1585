"""How callers write the values of a low's fields: in forms, JSON and YAML, as the encoders of many languages and as people do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlencode

import yaml

from service.clients import Client
from service.gateway.low_fields import FIELDS, FLAG, JOB_ID, OBJECT, RETURNERS, SECONDS, SHARE, WHOLE_NUMBER, WHOLE_SECONDS, Shape

Transport = Literal["json", "form", "yaml"]
MEDIA_TYPES: Mapping[Transport, str] = {"json": "application/json", "form": "application/x-www-form-urlencoded", "yaml": "application/x-yaml"}
REFUSED = "refused"
NOT_SENT = "as if it was not sent"


@dataclasses.dataclass(frozen=True)
class Spelling:
    """
    One way to write a value.

    text: JSON or YAML as it stands in the body; the value of a form's field before it is escaped.
    means: the value, REFUSED, or NOT_SENT. who: who writes it so.
    """

    transport: Transport
    text: str
    means: Any
    who: str

    @property
    def value(self) -> Any:
        """What stands in the body, before anybody makes sense of it; in a form that is always text."""
        return self.text if self.transport == "form" else json.loads(self.text) if self.transport == "json" else yaml.safe_load(self.text)

    def body(self, low: Mapping[str, Any], name: str) -> bytes:
        """Return the body of a request: a low, with its field *name* written so."""
        others = {key: value for key, value in low.items() if key != name}
        if self.transport == "form":
            return urlencode({**others, name: self.text}, doseq=True).encode()
        if self.transport == "json":
            return f"{json.dumps(others)[:-1]}, {json.dumps(name)}: {self.text}}}".encode()
        return "".join(f"{key}: {json.dumps(value)}\n" for key, value in others.items()).encode() + f"{name}: {self.text}\n".encode()


def _rows(transport: Transport, *rows: tuple[str, Any, str]) -> tuple[Spelling, ...]:
    return tuple(Spelling(transport, text, means, who) for text, means, who in rows)


_NULL = (
    _rows("json", ("null", NOT_SENT, "every encoder")) + _rows("yaml", ("~", NOT_SENT, "YAML"), ("", NOT_SENT, "YAML")) + _rows("form", ("", NOT_SENT, "forms"))
)

_FLAGS = (
    *_rows("json", ("true", True, "JSON"), ("false", False, "JSON"), ("1", True, "Perl, PHP"), ("0", False, "Perl, PHP"), ("1.0", True, "Lua"), ("0.0", False, "Lua")),
    *_rows("json", ('"1"', True, "PHP, Perl"), ('"0"', False, "PHP, Perl"), ('""', False, "Perl's false")),
    *_rows("json", ('"True"', True, "PowerShell, Python's str"), ('"False"', False, "PowerShell, Python's str"), ('"true"', True, "shell, Java"), ('"false"', False, "shell, Java")),
    *_rows("json", ('"TRUE"', True, "R, Excel"), ('"yes"', True, "Ruby's YAML"), ('"no"', False, "Ruby's YAML"), ('"t"', True, "Go's ParseBool"), ('"F"', False, "Go's ParseBool")),
    *_rows("json", ('"maybe"', REFUSED, "nobody"), ("2", REFUSED, "nobody"), ("-1", REFUSED, "Visual Basic"), ('"null"', REFUSED, "JavaScript's String"), ("[]", REFUSED, "nobody"), ("{}", REFUSED, "nobody")),
    *_rows("form", ("true", True, "curl"), ("false", False, "curl"), ("1", True, "PHP"), ("0", False, "PHP"), ("True", True, "Python"), ("False", False, "Python")),
    *_rows("form", ("on", True, "a browser's checkbox"), ("off", False, "shell"), ("yes", True, "shell"), ("no", False, "shell"), (" true ", True, "shell"), ("maybe", REFUSED, "nobody")),
    *_rows("yaml", ("true", True, "YAML"), ("False", False, "YAML"), ("yes", True, "YAML 1.1"), ("off", False, "YAML 1.1"), ("'true'", True, "a template"), ("1", True, "YAML"), ("y", True, "YAML 1.1")),
)  # fmt: skip
_OBJECTS = (
    *_rows("json", ('{"a": "x"}', {"a": "x"}, "JSON"), ("{}", {}, "JSON"), ("[]", {}, "PHP, Perl, Lua: empty"), ('""', {}, "shell: empty"), ('"{}"', {}, "encoded twice")),
    *_rows("json", ('"{\\"a\\": \\"x\\"}"', {"a": "x"}, "encoded twice"), ("[1]", REFUSED, "nobody"), ('"x"', REFUSED, "nobody"), ('"[]"', REFUSED, "nobody"), ("5", REFUSED, "nobody"), ("true", REFUSED, "nobody")),
    *_rows("json", ('"System.Collections.Hashtable"', REFUSED, "PowerShell, below its -Depth"), ('[{"Key": "a", "Value": "x"}]', REFUSED, "an encoded Java map")),
    *_rows("form", ('{"a": "x"}', {"a": "x"}, "curl, jQuery"), ("{a: x}", {"a": "x"}, "Salt's command line"), ("{}", {}, "curl"), ("x", REFUSED, "nobody"), ("[1]", REFUSED, "nobody"), ("5", REFUSED, "nobody")),
    *_rows("yaml", ("{a: x}", {"a": "x"}, "YAML"), ("{}", {}, "YAML"), ("[]", {}, "PHP's yaml_emit"), ("'{\"a\": \"x\"}'", {"a": "x"}, "a template"), ("[1]", REFUSED, "nobody")),
)  # fmt: skip
_SECONDS = (
    *_rows("json", ("2", 2, "JSON"), ("2.0", 2, "Lua, R"), ('"2"', 2, "shell, PHP"), ('"2.0"', 2, "shell"), ("2.5", 2.5, "JSON"), ('" 2 "', 2, "shell"), ("2e0", 2, "Go's large floats")),
    *_rows("json", ('""', REFUSED, "nobody"), ("true", REFUSED, "nobody"), ("[]", REFUSED, "nobody"), ('"2s"', REFUSED, "Go's Duration"), ("-1", REFUSED, "nobody"), ('"NaN"', REFUSED, "nobody")),
    *_rows("form", ("2", 2, "curl"), ("2.0", 2, "curl"), ("x", REFUSED, "nobody")),
    *_rows("yaml", ("2", 2, "YAML"), ("2.0", 2, "YAML"), ("'2'", 2, "a template"), ("yes", REFUSED, "nobody")),
)  # fmt: skip
_WHOLE_NUMBERS = (
    *_rows("json", ("1", 1, "JSON"), ("1.0", 1, "Lua, R"), ('"1"', 1, "shell, PHP"), ('"1.0"', 1, "shell"), ('" 1"', 1, "shell"), ("1.5", REFUSED, "nobody"), ("true", REFUSED, "nobody"), ('""', REFUSED, "nobody")),
    *_rows("form", ("1", 1, "curl"), ("1.0", 1, "curl"), ("0", REFUSED, "nobody")),
    *_rows("yaml", ("1", 1, "YAML"), ("'1'", 1, "a template"), ("1.0", 1, "YAML")),
)  # fmt: skip
_SHARES = (
    *_rows("json", ("1", 1, "JSON"), ("1.0", "1", "Lua, R"), ('"1"', "1", "shell, PHP"), ('"50%"', "50%", "JSON"), ('"50 %"', "50 %", "people"), ('" 50%"', "50%", "shell")),
    *_rows("json", ("0.5", REFUSED, "a half, or none"), ("true", REFUSED, "nobody"), ('"%"', REFUSED, "nobody")),
    *_rows("form", ("1", "1", "curl"), ("50%", "50%", "curl"), ("0", REFUSED, "nobody")),
    *_rows("yaml", ("1", 1, "YAML"), ("50%", "50%", "YAML"), ("'1'", "1", "a template")),
)  # fmt: skip
_RETURNERS = (
    *_rows("json", ('"local"', "local", "JSON"), ('"a,b"', "a,b", "Salt"), ('["a", "b"]', "a,b", "people"), ('["a"]', "a", "PowerShell's @()"), ('""', "", "JSON"), ("[]", "", "PHP: empty"), ("5", REFUSED, "nobody"), ("{}", REFUSED, "nobody")),
    *_rows("form", ("a,b", "a,b", "curl")),
    *_rows("yaml", ("local", "local", "YAML"), ("[a, b]", "a,b", "YAML")),
)  # fmt: skip
_JOB_IDS = (
    *_rows("json", ('"20260101000000000000"', "20260101000000000000", "JSON"), ('""', "", "Salt's default"), ("20260101000000000000", REFUSED, "rounded by any JSON number")),
    *_rows("form", ("20260101000000000000", "20260101000000000000", "curl")),
    *_rows("yaml", ("'20260101000000000000'", "20260101000000000000", "YAML"), ("20260101000000000000", "20260101000000000000", "YAML without quotes")),
)  # fmt: skip
_BY_SHAPE: Mapping[Shape, tuple[Spelling, ...]] = {
    FLAG: _FLAGS + _NULL, OBJECT: _OBJECTS + _NULL, SECONDS: _SECONDS + _NULL, WHOLE_NUMBER: _WHOLE_NUMBERS + _NULL,
    WHOLE_SECONDS: tuple(dataclasses.replace(one, means=3 if one.means == 2.5 else one.means) for one in _SECONDS) + _NULL, SHARE: _SHARES + _NULL, RETURNERS: _RETURNERS + _NULL, JOB_ID: _JOB_IDS + _NULL,
}  # fmt: skip


def fields() -> list[tuple[Client, str, tuple[Spelling, ...]]]:
    """Return every client's fields that have a shape, each with all its spellings."""
    return [(client, field.name, _BY_SHAPE[field.shape]) for client in Client for field in FIELDS if field.is_for(client) and isinstance(field.shape, Shape)]
