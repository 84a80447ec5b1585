"""The options of identities: who is proven elsewhere, and which account of the master's eauth module `sidecar` that becomes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from service.settings.option_types import FromText, Group, Words
from service.settings.policy_settings import Globs

# `http` only to the machine itself.
_URL = r"^(https://[^/?#@\s\\]+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?)(/[^?#\s\\]*)?$"
_WILDCARD = re.compile(r"[*?\[]")
_NO_RULES: Any = []
Text = Annotated[str, Field(min_length=1, max_length=256)]


class Issuer(Group):
    """Who signs id tokens."""

    url: Annotated[str, Field(pattern=_URL)]  # as the claim `iss` has it, to the letter
    audiences: Annotated[Words, Field(min_length=1)]
    # Where its keys are: fetched, or a file that is read again when it is replaced.
    jwks_url: Annotated[str, Field(pattern=_URL)] | None = None
    jwks_file: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Issuer:
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise ValueError("an issuer has either jwks_url or jwks_file")
        return self


class AccountRule(Group):
    """Whose id token, or certificate, has all these claims, each with a value that one of its globs fits, gets the account and the groups."""

    issuer: str
    claims: Annotated[dict[str, Globs], Field(min_length=1)]
    account: Text
    groups: Annotated[tuple[Text, ...], Field(max_length=20)] = ()

    @model_validator(mode="after")
    def _check(self) -> AccountRule:
        if self.claims.keys() == {"sub"} and any(map(_WILDCARD.search, self.claims["sub"])):
            raise ValueError("a wildcard in `sub` alone lets in more than it seems to; name claims such as `repository` and `ref` instead")
        return self


class IdentitySettings(Group):
    """Logins at the master without passwords, by the eauth module `sidecar`; docs/identities.md."""

    key_file: Path | None = Field(
        None,
        description="File with the private key by which the sidecar proves to the master whom it logs in; the command `identity-key` makes it. None: no such logins. Read again when it is replaced.",
    )
    test_account: Text | None = Field(
        None,
        description="Account that `salt-sidecar check` logs in by the eauth module `sidecar`, to see whether the master lets it in; give it a small right, such as `test.ping`.",
    )
    issuers: Annotated[dict[str, Issuer], FromText] = Field(
        {},
        description="Who signs id tokens that are taken at `/v1`, by a name for the rules: `url` (its `iss`), `audiences`, and its keys by `jwks_url` or `jwks_file`.",
    )
    proxy_secret_file: Path | None = Field(
        None,
        description="File with the secret that a proxy sends as `X-Proxy-Secret` with every request, so that the client certificate beside it is believed; whoever knows it is everybody. None: no certificates. Read again when it is replaced.",
    )
    certificate_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] = Field(
        "X-Client-Cert",
        description="Header in which that proxy passes on the certificate that it has verified, and nothing else: PEM with percent signs, as nginx writes it, base64 of its DER, or that between colons (RFC 9440).",
    )
    rules: Annotated[tuple[AccountRule, ...], FromText] = Field(
        _NO_RULES,
        validate_default=True,
        description="Which account an id token, or a client certificate (`issuer: certificate`), gets: `issuer`, `claims` (globs by claim; all must fit), `account`, `groups`. The first rule that fits decides; where none does it is refused.",
    )
