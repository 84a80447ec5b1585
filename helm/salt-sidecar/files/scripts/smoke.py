"""What `helm test` runs, in the sidecar's image: smoke.py API_URL OPS_URL [USER SECRET_FILE]; a URL may be a dash."""

from __future__ import annotations

import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

DEADLINE_SECONDS = 120
OPS_TOKEN = Path("/secrets/ops/token")


def opener() -> urllib.request.OpenerDirector:
    """Nothing leaves the cluster, whatever proxy the environment names. Whose the certificate is, is the callers' question; here it is whether it works."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))


OPENER = opener()


def exchange(url: str, body: object = None, token: str = "") -> tuple[int, bytes]:
    """Send one request; 0 when nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, data, headers)
    try:
        with OPENER.open(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read()
    except OSError as exc:
        return 0, str(exc).encode()


def expect(what: str, url: str, body: object = None, token: str = "") -> bytes:
    """Ask until the answer is 200; a pod that has just come up is given time."""
    end = time.monotonic() + DEADLINE_SECONDS
    while True:
        status, answer = exchange(url, body, token)
        if status == 200:
            print(f"ok    {what}", flush=True)
            return answer
        if time.monotonic() > end:
            sys.exit(f"FAIL  {what}: {status} {answer[:300]!r}")
        time.sleep(2)


def ops_token() -> str:
    """Return the token of the ops listener; nothing where it asks for none."""
    return OPS_TOKEN.read_text(encoding="utf-8").strip() if OPS_TOKEN.exists() else ""


def main(api: str, ops: str, user: str = "", secret_file: str = "") -> None:
    if ops != "-":
        expect("the process lives", f"{ops}/livez")
        expect("the master answers it", f"{ops}/readyz")
        if b"salt_api_" not in expect("metrics are there", f"{ops}/metrics", token=ops_token()):
            sys.exit("FAIL  none of the metrics is ours")
    if api != "-":
        expect("the API says what it offers", f"{api}/")
    if api != "-" and user:
        secret = Path(secret_file).read_text(encoding="utf-8").rstrip("\n")
        low = {"client": "local", "tgt": "*", "fun": "test.ping", "eauth": "sharedsecret", "username": user, "password": secret}
        answer = json.loads(expect(f"{user} may ping", f"{api}/run", [low]))
        print(f"      minions that answered: {len(answer['return'][0])}")
    print("all well")


if __name__ == "__main__":
    main(*sys.argv[1:])
