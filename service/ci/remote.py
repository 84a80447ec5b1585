"""The API at a URL, as a pipeline has to see it: away at times, and worth waiting for."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

EXIT_UNREACHABLE, EXIT_REFUSED, EXIT_USAGE, EXIT_INTERRUPTED = 10, 11, 64, 130
# The server says something every few seconds, if only that it is there.
SILENT_SECONDS = 60.0
ASK_SECONDS = 90.0
MOST_BYTES = 64 * 1024 * 1024
AGAIN = (429, 502, 503, 504)

Headers = Mapping[str, str]
NONE: Headers = {}


class Away(Exception):
    """The server did not answer, or asked to come back. seconds: when."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Declined(Exception):
    """The server said no. status: HTTP's."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Ended(Exception):
    """The program is at its end. code: its exit code."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token goes nowhere but to the address that was given."""

    def redirect_request(self, *_args: Any, **_options: Any) -> None:
        return None


class Remote:
    """
    The API at a URL: logs in, asks, and waits for it while it is away. say(line): tells a person why nothing happens.

    patience: seconds for its first answer; until then an address is more likely wrong than a server away.
    """

    def __init__(self, url: str, environ: dict[str, str], say: Callable[[str], None], patience: float) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise Ended(EXIT_USAGE, "SALT_API_URL (or --url) must be the URL of the API, such as https://salt.example.org:8000")
        self.url = url.rstrip("/")
        self._environ = environ
        self._say = say
        self._patience = patience
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust_of(environ)), NoRedirect())
        self._token = ""
        self._renewable = False  # we can log in again
        self._met = self._proven = False  # proven: something was answered to this token

    def login(self, until: float) -> str:
        """Get a token: from the environment, for an id token, or by name and password. Return it."""
        self._token = setting(self._environ, "SALT_TOKEN")
        if not self._token:
            self._token = self.patiently(self._way_in(), until)
            self._renewable, self._proven = True, False
        return self._token

    def _way_in(self) -> Callable[[], str]:
        """Return what logs in with what the environment has."""
        if wants_id_token(self._environ):
            return self._by_id_token
        return self._by_certificate if self._environ.get("SALT_API_CERT") and not self._environ.get("SALT_API_USER") else self._by_name

    def _by_id_token(self) -> str:
        """Exchange the pipeline's id token. Source: RFC 8693, section 2."""
        kinds = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token_type": "urn:ietf:params:oauth:token-type:id_token"}
        return self._exchanged({**kinds, "subject_token": self._id_token()})

    def _by_certificate(self) -> str:
        """Let the proxy say whose certificate it is. Source: RFC 8705, section 2."""
        return self._exchanged({"grant_type": "client_credentials"})

    def _exchanged(self, form: Mapping[str, str]) -> str:
        answer = self.ask("POST", "/v1/token", urllib.parse.urlencode(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"})
        return str(answer["access_token"])

    def _id_token(self) -> str:
        """Return the id token that the pipeline has, or on GitHub is given when it asks."""
        return setting(self._environ, "SALT_ID_TOKEN") or given_by_github(self._environ, self._opener)

    def _by_name(self) -> str:
        environ = self._environ
        user, password = environ.get("SALT_API_USER"), setting(environ, "SALT_API_PASSWORD")
        if not user or not password:
            raise Ended(
                EXIT_USAGE, "set SALT_TOKEN, SALT_ID_TOKEN, SALT_API_AUDIENCE on GitHub, SALT_API_CERT, or SALT_API_USER and SALT_API_PASSWORD; see --help"
            )
        answer = self.ask("POST", "/login", {"eauth": environ.get("SALT_API_EAUTH") or "file", "username": user, "password": password})
        return str(answer["return"][0]["token"])

    def ask(self, method: str, path: str, body: Any = None, headers: Headers = NONE, *, timeout: float = ASK_SECONDS) -> Any:
        """Send a request once, and return what it answers. Raises Away and Declined."""
        with self.open(method, path, body, headers, timeout=timeout) as answer:
            text, kind = answer.read(MOST_BYTES), answer.headers.get("Content-Type") or ""
        if "json" not in kind:
            return text
        try:
            return json.loads(text)
        except ValueError:
            raise Away(f"the answer of {self.url} was cut") from None

    @contextlib.contextmanager
    def open(self, method: str, path: str, body: Any = None, headers: Headers = NONE, *, timeout: float) -> Iterator[Any]:
        """Open an answer, to be read inside the block."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {
            "Accept": "application/json",
            "X-Auth-Token": self._token,
            "User-Agent": "salt-ci",
            "Content-Type": "application/json" if data else "",
            **headers,
        }
        request = urllib.request.Request(self.url + path, data, {name: to for name, to in sent.items() if to}, method=method)  # noqa: S310 - http or https
        try:
            with self._opener.open(request, timeout=timeout) as answer:
                self._met = self._proven = True
                yield answer
        except urllib.error.HTTPError as fault:
            with fault:
                # A proxy answers for a server that is not there, and not in JSON.
                self._met = self._met or fault.code not in AGAIN or "json" in (fault.headers.get("Content-Type") or "")
                raise refusal_of(fault) from None
        except (OSError, http.client.HTTPException) as fault:
            raise Away(f"{self.url} does not answer ({getattr(fault, 'reason', None) or fault or type(fault).__name__})") from None

    def patiently(self, act: Callable[[], Any], until: float) -> Any:
        """Do something until the server is there to answer it. until: on the monotonic clock. Raises Ended when it never is."""
        pause, began, told = 0.5, time.monotonic(), ""
        while True:
            value, away = self._tried(act, until)
            if away is None:
                return value
            now = time.monotonic()
            if now >= (until if self._met else min(until, began + self._patience)):
                raise Ended(EXIT_UNREACHABLE, f"{away}; the same command with the same key is safe")
            if str(away) != told:
                told = str(away)
                self._say(f"waiting: {told}")
            time.sleep(min(max(pause, away.seconds), max(0.1, until - now)))
            pause = min(pause * 2, 5.0)

    def _tried(self, act: Callable[[], Any], until: float) -> tuple[Any, Away | None]:
        try:
            return act(), None
        except Away as away:
            return None, away
        except Declined as no:
            # A token that was good has died on the way; a new one that is refused at once never was.
            if no.status != HTTPStatus.UNAUTHORIZED or not (self._renewable and self._proven):
                raise
            self.login(until)
            return None, Away("the token had died; logged in again")


def trust_of(environ: dict[str, str]) -> ssl.SSLContext:
    """Return whom to trust, and what to show a server that asks for a certificate."""
    context = ssl.create_default_context()
    try:
        if environ.get("SALT_API_CA"):
            context.load_verify_locations(environ["SALT_API_CA"])
        if environ.get("SALT_API_CERT"):
            context.load_cert_chain(environ["SALT_API_CERT"], environ.get("SALT_API_KEY") or None)
    except OSError as fault:
        raise Ended(EXIT_USAGE, f"SALT_API_CA, SALT_API_CERT or SALT_API_KEY cannot be used: {fault}") from None
    return context


def wants_id_token(environ: Mapping[str, str]) -> bool:
    """Say whether the pipeline logs in by an id token."""
    return any(environ.get(name) for name in ("SALT_ID_TOKEN", "SALT_ID_TOKEN_FILE", "SALT_API_AUDIENCE"))


def given_by_github(environ: Mapping[str, str], opener: urllib.request.OpenerDirector) -> str:
    """Ask GitHub for the id token of the running job. Source: GitHub's documentation, "OpenID Connect reference"."""
    url, bearer = environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"), environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    if not url or not bearer:
        raise Ended(EXIT_USAGE, "SALT_API_AUDIENCE wants an id token of GitHub's, which gives none: the job needs `permissions: {id-token: write}`")
    audience = urllib.parse.quote(environ["SALT_API_AUDIENCE"], safe="")
    request = urllib.request.Request(f"{url}&audience={audience}", headers={"Authorization": f"Bearer {bearer}", "Accept": "application/json"})  # noqa: S310 - GitHub's
    try:
        with opener.open(request, timeout=ASK_SECONDS) as answer:
            return str(json.loads(answer.read(MOST_BYTES))["value"])
    except urllib.error.HTTPError as fault:
        with fault:
            said = f"GitHub gives no id token ({fault.code})"
            raise (Away(said) if fault.code >= HTTPStatus.INTERNAL_SERVER_ERROR else Declined(fault.code, said)) from None
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as fault:
        raise Away(f"GitHub gives no id token ({type(fault).__name__})") from None


def lines_in(answer: Any) -> Iterator[bytes]:
    """Yield the whole lines of a stream as they come. Raises http.client.IncompleteRead where it is cut, which iterating over it does not."""
    kept = b""
    while data := answer.read1(65536):
        *lines, kept = (kept + data).split(b"\n")
        yield from lines


def refusal_of(fault: urllib.error.HTTPError) -> Exception:
    """Return what an answer with a fault's status means."""
    try:
        problem = json.loads(fault.read(MOST_BYTES))
    except (ValueError, OSError):
        problem = {}
    told = problem if isinstance(problem, dict) else {}
    reason = str(told.get("detail") or told.get("return") or fault.reason)
    faults = [f"{one.get('pointer')}: {one.get('detail')}" for one in told.get("errors") or () if isinstance(one, dict)]
    said = f"{fault.code}: {'; '.join([reason, *faults])}" + (f" (job {told['jid']})" if told.get("jid") else "")
    after = fault.headers.get("Retry-After") or ""
    if fault.code in AGAIN or (fault.code == 409 and "come back" in reason):
        return Away(said, float(after) if after.isdigit() else 0.0)
    return Declined(fault.code, said)


def setting(environ: Mapping[str, str], name: str) -> str:
    """Return a secret of the environment, or the first line of the file that NAME_FILE names; nothing where there is neither."""
    return environ.get(name) or first_line(environ.get(f"{name}_FILE"))


def first_line(path: str | None) -> str:
    """Return the first line of a file; nothing without a name."""
    if not path:
        return ""
    try:
        return (Path(path).read_text(encoding="utf-8").splitlines() or [""])[0].strip()
    except (OSError, ValueError) as fault:
        raise Ended(EXIT_USAGE, f"cannot read {path}: {fault}") from None
