"""One reading of Accept, whoever asks it: the API, the page, a scrape."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.http.accept import MediaRange, accepted, accepts_gzip, entries_of, exposition_format


def test_an_entry_has_a_name_parameters_and_a_quality() -> None:
    header = 'Text/HTML, application/json; q=0.5 ;Version="1.0", ;q=1,, a/b;q=.2, c/d;q=nan, e/f;q='

    assert list(entries_of(header)) == [
        MediaRange("text/html", {}, 1.0),
        MediaRange("application/json", {"q": "0.5", "version": "1.0"}, 0.5),
        MediaRange("a/b", {"q": ".2"}, 0.2),
        MediaRange("c/d", {"q": "nan"}, None),
        MediaRange("e/f", {"q": ""}, None),
    ]


def test_a_malformed_quality_keeps_an_answer_and_brings_no_openmetrics() -> None:
    assert accepted("application/json;q=nonsense") == {"application/json": 1.0}
    assert exposition_format("application/openmetrics-text;q=nonsense") == "text"


def test_a_named_encoding_beats_the_wildcard() -> None:
    assert [accepts_gzip(header) for header in ("gzip;q=0, *", "*", "gzip;q=0.1, *;q=0", "br")] == [False, True, True, False]


@given(st.lists(st.sampled_from(["text/plain", "*", "q", "=", ";", ",", '"', " ", "0.5", "nan", "version", "é"])).map("".join) | st.text())
def test_any_header_is_read(header: str) -> None:
    assert all(name for name, _, _ in entries_of(header))
    assert all(0 <= quality < 2 for quality in accepted(header).values())
    assert exposition_format(header) in {"text", "openmetrics"}
