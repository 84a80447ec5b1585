"""Facts: the request's id, and what is noted of a request whatever its headers hold."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.request_info import RequestInfo, new_info, new_request_id


def info(**environ: Any) -> RequestInfo:
    return new_info({"REQUEST_METHOD": "POST", "PATH_INFO": "/", "REMOTE_ADDR": "192.0.2.1", **environ})


@pytest.mark.parametrize("given", ["abc", "A-b_c.9", "x" * 128, "019b0000-0000-7000-8000-000000000000"])
def test_a_sane_request_id_of_the_caller_is_kept(given: str) -> None:
    assert info(HTTP_X_REQUEST_ID=given).request_id == given


@pytest.mark.parametrize("given", ["", "a b", "a\n", "x" * 129, "é", '"}', "a\r\nSet-Cookie: x", "a/b"])
def test_another_one_is_replaced(given: str) -> None:
    request_id = info(HTTP_X_REQUEST_ID=given).request_id

    assert request_id != given
    assert uuid.UUID(request_id).version == 7


@pytest.mark.costly
@given(st.text(max_size=140))
def test_no_header_gives_a_request_id_that_could_break_a_line(given: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", info(HTTP_X_REQUEST_ID=given).request_id)


def test_new_request_ids_sort_by_time_and_differ() -> None:
    earlier, later = new_request_id(lambda: 1000.0), new_request_id(lambda: 1000.001)

    assert earlier < later
    assert len({new_request_id(lambda: 1000.0) for _ in range(100)}) == 100
    assert {uuid.UUID(one).variant for one in (earlier, later)} == {uuid.RFC_4122}
    assert uuid.UUID(earlier).int >> 80 == 1_000_000


def test_the_account_begins_with_what_the_request_says() -> None:
    noted = info(PATH_INFO="/x", CONTENT_LENGTH="12", HTTP_USER_AGENT="curl")

    assert (noted.method, noted.path, noted.address, noted.user_agent, noted.body_bytes) == ("POST", "/x", "192.0.2.1", "curl", 12)
    assert (noted.route, noted.status, noted.sent_bytes, noted.lows) == ("unmatched", 0, 0, [])


def test_a_request_without_headers_has_an_account_too() -> None:
    noted = new_info({"REQUEST_METHOD": "GET"})

    assert (noted.path, noted.address, noted.user_agent, noted.body_bytes) == ("/", "", None, 0)


@pytest.mark.parametrize("length", ["", "-5", "x", "1e3", "٣x"])
def test_a_lying_length_counts_as_none(length: str) -> None:
    assert info(CONTENT_LENGTH=length).body_bytes == 0


def test_a_user_agent_is_cut() -> None:
    assert len(info(HTTP_USER_AGENT="x" * 10_000).user_agent or "") == 256
