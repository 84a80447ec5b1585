"""
Django OAuth Toolkit as an OpenID provider, with as little of a site around it as it needs; run by a Python that has it.

Arguments: a port of loopback, a folder for the database, and files with RSA keys, of which the first one signs and the others are published too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.urls import include, path

port, folder, keys = int(sys.argv[1]), Path(sys.argv[2]), [Path(name).read_text() for name in sys.argv[3:]]
settings.configure(
    SECRET_KEY="of a test",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "issuer.db")}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider"],
    # Who calls is logged in as the user that a header names: there is no page for a password.
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware", "__main__.Named"],
    AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.RemoteUserBackend"],
    OAUTH2_PROVIDER={
        "OIDC_ENABLED": True,
        "OIDC_RSA_PRIVATE_KEY": keys[0],
        "OIDC_RSA_PRIVATE_KEYS_INACTIVE": keys[1:],
        "OAUTH2_VALIDATOR_CLASS": "__main__.Claims",
        "SCOPES": {"openid": "who it is"},
        "PKCE_REQUIRED": False,
        "ID_TOKEN_EXPIRE_SECONDS": 300,
    },
)
django.setup()

from django.contrib.auth.middleware import RemoteUserMiddleware  # noqa: E402 - Django has to be set up
from oauth2_provider.models import get_application_model  # noqa: E402
from oauth2_provider.oauth2_validators import OAuth2Validator  # noqa: E402


class Named(RemoteUserMiddleware):  # type: ignore[misc] # of an environment of its own
    header = "HTTP_X_USER"


class Claims(OAuth2Validator):  # type: ignore[misc]
    oidc_claim_scope = None

    def get_additional_claims(self, request: Any) -> dict[str, Any]:
        """Return what the site says of a user besides `sub`: here as a platform does of a pipeline."""
        return {"project_path": request.user.username, "ref_protected": True}


class Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base
        return


urlpatterns = [path("o/", include("oauth2_provider.urls", namespace="oauth2_provider"))]
call_command("migrate", verbosity=0)
get_application_model().objects.get_or_create(
    client_id="https://salt.example.org",
    defaults={
        "client_secret": "of a test",
        "client_type": "confidential",
        "authorization_grant_type": "authorization-code",
        "redirect_uris": "https://ci.example.org/back",
        "skip_authorization": True,
        "algorithm": "RS256",
    },
)
make_server("127.0.0.1", port, get_wsgi_application(), handler_class=Silent).serve_forever()
