"""`/keys`: minion keys."""

from __future__ import annotations

import io
import re
from typing import Any

import falcon

from service.commands import Commands
from service.errors import BadRequest, Conflict, MasterRefused
from service.gateway.low import CREDENTIAL_FIELDS
from service.http.media import decode, respond
from service.http.request_info import RequestInfo

# key.gen_accept drops every other character, and dots at the ends, without a word: the key would be another minion's.
# Source: salt/utils/sanitizers.py, InputSanitizer.hostname.
_MINION_ID = re.compile(r"(?!\.)[A-Za-z0-9.-]{1,255}(?<!\.)")
# A larger one keeps the master busy for minutes.
MOST_BITS = 8192
_TRUE = frozenset({"true", "yes", "on", "1"})


class KeysResource:
    """The names of all keys, by state; and key pairs for new minions."""

    # A kickstart script pipes the answer into tar whatever its Accept header says.
    any_accept = frozenset({"POST"})

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List them: {"return": {"minions": [], "minions_pre": [], ...}}, an object, not a list."""
        _answer_keys(self._commands, {"fun": "key.list_all"}, req, resp)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Make a pair for `mid`, accept it, and answer a tar of `minion.pub` and `minion.pem`. Needs credentials in the body; 409 if there is a key and no `force`."""
        low = _generation(decode(req))
        (value,) = self._commands.run([low], RequestInfo.of(req.env))
        pair = value["data"].get("return") if isinstance(value.get("data"), dict) else None
        if not isinstance(pair, dict):
            raise MasterRefused("the master could not make the key")
        if not pair:
            # Rest_cherrypy sends two empty files here, which overwrite the keys that the minion has.
            raise Conflict("a key of this name is accepted already; `force` replaces it")
        resp.content_type = "application/x-tar"
        resp.data = _tar({"minion.pub": str(pair.get("pub", "")), "minion.pem": str(pair.get("priv", ""))})
        resp.set_header("Cache-Control", "no-cache")
        resp.set_header("Content-Disposition", f'attachment; filename="saltkeys-{low["id_"]}.tar"')


class KeyResource:
    """The fingerprint of one key, or of those that a glob matches."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def on_get(self, req: falcon.Request, resp: falcon.Response, mid: str) -> None:
        """Look it up: {"return": {"minions": {mid: fingerprint}}}, an object, not a list."""
        _answer_keys(self._commands, {"fun": "key.finger", "match": mid}, req, resp)


def _answer_keys(commands: Commands, fields: dict[str, str], req: falcon.Request, resp: falcon.Response) -> None:
    (value,) = commands.run([{"client": "wheel", **fields}], RequestInfo.of(req.env), proof=req.context.session)
    data = value.get("data")
    resp.set_header("Cache-Control", "private")
    respond(req, resp, {"return": data.get("return", {}) if isinstance(data, dict) else {}})


def _generation(body: object) -> dict[str, Any]:
    """Return the wheel call that a request for new keys stands for; its numbers and flags may be a form's texts."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        raise BadRequest("send one object with mid and credentials")
    minion = body.get("mid", body.get("id_"))
    if not isinstance(minion, str) or not _MINION_ID.fullmatch(minion):
        raise BadRequest("mid must be the id of a minion, of letters, digits, dots and dashes: key.gen_accept takes no others", field="mid")
    low = {name: body[name] for name in CREDENTIAL_FIELDS if name in body}
    low |= {"client": "wheel", "fun": "key.gen_accept", "id_": minion}
    if "keysize" in body:
        low["keysize"] = _bits(body["keysize"])
    if "force" in body:
        low["force"] = body["force"] is True or str(body["force"]).lower() in _TRUE
    return low


def _bits(value: object) -> int:
    """Return a key's size; a small one is made 2048, as the wheel function promises."""
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > MOST_BITS:
        raise BadRequest(f"keysize must be a number of bits, at most {MOST_BITS}", field="keysize")
    return max(2048, int(text))


def _tar(files: dict[str, str]) -> bytes:
    import tarfile  # noqa: PLC0415 - for this answer alone

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in files.items():
            content = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
