"""Media: what may come in, what goes out, and how the two are chosen."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from service.http import media
from tests.unit.http.conftest import Application

JSON = "application/json"
YAML = "application/x-yaml"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def app(application: Callable[..., Application]) -> Application:
    return application()


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        (JSON, b'[{"fun": "x"}]', [{"fun": "x"}]),
        ("application/json; charset=UTF-8", b'{"a": 1}\n', {"a": 1}),
        ("APPLICATION/JSON", b"null", None),
        (YAML, b"- fun: x\n  arg: [010]", [{"fun": "x", "arg": [10]}]),
        ("text/yaml", b"a: 2020-01-01", {"a": "2020-01-01"}),
        ("text/plain;charset=UTF-8", b'{"client": "local"}', {"client": "local"}),
        ("text/plain", b"just: words", "just: words"),
        (FORM, b"client=local&tgt=*&fun=test.arg&arg=1234&arg=a%20b&arg=[1]&kwarg={a: 1}",
         {"client": "local", "tgt": "*", "fun": "test.arg", "arg": [1234, "a b", [1]], "kwarg": {"a": 1}}),
        ("application/x-www-form-urlencoded;charset=utf-8", b"arg=one=1&x=a b", {"arg": ["one=1"], "x": "a b"}),
        (FORM, b"username=1234&password=5678&empty=", {"username": "1234", "password": "5678"}),
        ("application/json; charset=ISO-8859-1", '["ä"]'.encode("latin-1"), ["ä"]),
        ('application/json; x=1; Charset="Windows-1252"', '["€"]'.encode("cp1252"), ["€"]),
        ("application/json; charset=utf-16", '["ä😀"]'.encode("utf-16"), ["ä😀"]),
        ("text/yaml; charset=utf-32-be", "a: ä".encode("utf-32-be"), {"a": "ä"}),
        ("text/plain; charset=latin1", "ä".encode("latin-1"), "ä"),
        ("application/json; charset=us-ascii", '["ä"]'.encode(), ["ä"]),
        ("application/json; charset=", b"[1]", [1]),
        (FORM + "; charset=ISO-8859-1", "x=ä".encode("latin-1"), {"x": "ä"}),
        (JSON, b"\xef\xbb\xbf[1]", [1]),
        (YAML, b"\xef\xbb\xbfa: 1", {"a": 1}),
        (FORM, b"\xef\xbb\xbfx=1", {"x": "1"}),
        ("text/plain", b"\xef\xbb\xbf{}", {}),
        (FORM, b"tgt=a&tgt=b", {"tgt": ["a", "b"]}),
        ("", b"", None),
        ("image/png", b"", None),
        (JSON, b"", None),
    ],
)  # fmt: skip
def test_each_media_type_is_read_as_rest_cherrypy_reads_it(app: Application, content_type: str, body: bytes, value: object) -> None:
    answer = app.caller.request("POST", "/echo", body, content_type=content_type)

    assert (answer.status, answer.json()) == (200, {"return": value})


def test_a_content_encoding_that_is_none_is_ignored(app: Application) -> None:
    answer = app.caller.request("POST", "/echo", b"username=a", content_type=FORM, content_encoding="UTF-8")

    assert answer.json() == {"return": {"username": "a"}}


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("image/png", b"x", 406),
        ("", b"{}", 406),
        ("multipart/form-data; boundary=x", b"--x--", 406),
        (JSON, b"{", 400),
        (JSON, b"\xff", 400),
        ("text/plain", b"\xff", 400),
        (JSON, b"[" * 300 + b"]" * 300, 400),
        (JSON, b'{"a":' * 300 + b"1" + b"}" * 300, 400),
        (YAML, b"a: [", 400),
        (YAML, b"\xff", 400),
        (YAML, b"&a [*a]", 400),
        (FORM, b"a=\xff", 400),
        (FORM, b"a=1&" * 2000, 400),
        (FORM, b"a" * 1_100_000, 413),
        (YAML, b"- 1\n" * 300_000, 413),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_cannot_be_read_is_refused(app: Application, content_type: str, body: bytes, status: int) -> None:
    answer = app.caller.request("POST", "/echo", body, content_type=content_type)

    assert answer.status == status
    assert answer.json()["return"].startswith(f"{status}: ")


@pytest.mark.parametrize("media_type", [JSON, YAML, FORM, "text/plain"])
@pytest.mark.parametrize("body", ['{"a": "ä"}'.encode("latin-1"), '["ä'.encode("latin-1"), "a=ä".encode("latin-1")])
def test_another_encoding_is_told_by_its_name(app: Application, media_type: str, body: bytes) -> None:
    answer = app.caller.request("POST", "/echo", body, content_type=media_type)

    assert answer.status == 400
    assert "is not UTF-8" in answer.json()["return"]
    assert "charset" in answer.json()["return"]


@pytest.mark.parametrize("charset", ["utf-16", "utf-32", "utf-16le"])
def test_a_body_that_is_not_in_its_declared_charset_is_told_so(app: Application, charset: str) -> None:
    answer = app.caller.request("POST", "/echo", b"[1]", content_type=f"{JSON}; charset={charset}")

    assert answer.status == 400
    assert "the body is not utf-" in answer.json()["return"]


@pytest.mark.parametrize("charset", ["utf-7", "idna", "punycode", "rot13", "zlib", "base64", "undefined", "x" * 5_000, "ä", "\x00", "mbcs", "unicode_escape"])
def test_a_charset_that_is_no_plain_text_is_unsupported(app: Application, charset: str) -> None:
    answer = app.caller.request("POST", "/echo", b"[1]", content_type=f"{JSON}; charset={charset}")

    assert answer.status == 415
    assert "send UTF-8" in answer.json()["return"]


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "identity, gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("media_type", [JSON, YAML, FORM, "text/plain"])
def test_a_compressed_body_is_unsupported(app: Application, coding: str, media_type: str) -> None:
    answer = app.caller.request("POST", "/echo", gzip.compress(b"[1]"), content_type=media_type, content_encoding=coding)

    assert answer.status == 415
    assert "compressed" in answer.json()["return"]


@pytest.mark.parametrize("body", [b"password: *Canary", b"password: !Canary", b"password: 'Canary", b"{password: Canary", b"Canary: 1\nCanary: 2"])
def test_a_refusal_quotes_nothing_of_the_body(app: Application, body: bytes) -> None:
    answer = app.caller.request("POST", "/echo", body, content_type=YAML)

    assert answer.status == 400
    assert b"Canary" not in answer.body
    assert "Canary" not in str(app.accounts)


@pytest.mark.costly
@given(
    st.sampled_from([JSON, YAML, FORM, "text/plain", "text/yaml"]),
    st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")),
)
def test_no_body_is_a_server_error(content_type: str, body: bytes) -> None:
    app = Application()

    answer = app.caller.request("POST", "/echo", body, content_type=content_type)

    assert answer.status in {200, 400}
    assert answer.json()


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON), ("", JSON), ("*/*", JSON), (JSON, JSON), ("*/*, application/json", JSON), ("application/json, text/plain, */*", JSON),
        ("application/json; charset=utf-8", JSON), ("application/*", JSON), ("APPLICATION/JSON", JSON), (YAML, YAML), ("application/x-yaml;q=0.5", YAML),
        ("*/*, application/x-yaml", YAML), ("application/x-yaml, application/json", JSON), ("application/json;q=0.5, application/x-yaml", YAML),
        ("application/json;q=0, */*", YAML), ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON), ("application/json;q=nonsense", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON), (",,;,", None), ("text/html", None), ("image/png, text/*", None),
        ("application/json;q=0", None), ("text/yaml", None),
    ],
)  # fmt: skip
def test_the_accept_header_chooses_the_format(app: Application, accept: str | None, chosen: str | None) -> None:
    answer = app.caller.request("GET", "/echo", b"", **({} if accept is None else {"accept": accept}))

    assert answer.status == (406 if chosen is None else 200)
    assert answer.headers["content-type"] == (chosen or JSON)
    assert answer.headers["vary"] == "Accept, Accept-Encoding"


def test_brackets_in_strings_do_not_count_as_depth(app: Application) -> None:
    answer = app.caller.post(["[" * 5000], "/echo")

    assert answer.json() == {"return": ["[" * 5000]}


def test_nothing_is_done_for_a_caller_who_takes_none_of_our_types(application: Callable[..., Application]) -> None:
    class Never:
        def on_post(self, *_: object) -> None:
            raise AssertionError

    answer = application(routes={"/": Never()}).caller.post({}, accept="image/png")

    assert answer.status == 406


def test_an_error_comes_in_the_format_asked_for(app: Application) -> None:
    answer = app.caller.get("/nowhere", accept=YAML)

    assert (answer.status, answer.headers["content-type"]) == (404, YAML)
    assert yaml.safe_load(answer.body)["return"] == "404: Not Found"


def test_yaml_and_json_say_the_same(app: Application) -> None:
    body = json.dumps({"a": [1, None, True, 1.5, "ä", {}]}).encode()

    as_json = app.caller.request("POST", "/echo", body, content_type=JSON)
    as_yaml = app.caller.request("POST", "/echo", body, content_type=JSON, accept=YAML)

    assert yaml.safe_load(as_yaml.body) == as_json.json()


@pytest.mark.parametrize(
    ("asked", "packed"), [("gzip", True), ("deflate, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("identity", False), ("br", False)]
)
def test_a_long_answer_is_compressed_for_those_who_ask(app: Application, asked: str, packed: bool) -> None:
    answer = app.caller.post(["x" * 5000], "/echo", accept_encoding=asked)

    assert (answer.headers.get("content-encoding") == "gzip") == packed
    assert json.loads(gzip.decompress(answer.body) if packed else answer.body) == {"return": ["x" * 5000]}
    assert int(answer.headers["content-length"]) == len(answer.body)


def test_a_short_answer_is_not_compressed(app: Application) -> None:
    answer = app.caller.post(["x"], "/echo", accept_encoding="gzip")

    assert "content-encoding" not in answer.headers


def test_a_get_may_have_a_body_which_nobody_reads(app: Application) -> None:
    answer = app.caller.request("GET", "/echo", b"null", content_type=JSON)

    assert answer.status == 200


def test_head_is_get_without_its_body(app: Application) -> None:
    got, head = app.caller.get("/echo"), app.caller.request("HEAD", "/echo")

    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


def test_head_closes_a_stream_that_was_opened_for_it(application: Callable[..., Application]) -> None:
    closed: list[str] = []

    class Endless:
        def __iter__(self) -> Any:
            raise AssertionError

        def close(self) -> None:
            closed.append("yes")

    class Stream:
        def on_get(self, _req: Any, resp: Any) -> None:
            resp.stream = Endless()

    answer = application(routes={"/": Stream()}).caller.request("HEAD", "/")

    assert (answer.status, closed) == (200, ["yes"])


@pytest.mark.parametrize("accept", [JSON, YAML])
def test_of_a_value_too_deep_to_be_written_the_rest_is_written(application: Callable[..., Application], accept: str) -> None:
    class Deep:
        def on_get(self, req: Any, resp: Any) -> None:
            value: object = 1
            for level in range(2000):
                value = [value] if level % 2 else {"x": value}
            media.respond(req, resp, {"minion-1": value, "minion-2": True})

    answer = application(routes={"/": Deep()}).caller.get(accept=accept)

    assert answer.status == 200
    assert b"<cut>" in answer.body
    assert yaml.safe_load(answer.body)["minion-2"] is True
