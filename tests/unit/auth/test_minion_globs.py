"""Globs on minion ids: what is said of a target holds for every id that Salt's own matcher gives it."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.auth.minion_globs import MOST_CHARACTERS, Fit, MinionGlobs

# Every id of up to four of these letters stands for all ids there are.
IDS = ["".join(letters) for length in range(1, 5) for letters in itertools.product("ab]", repeat=length)]
GLOBS = st.lists(st.sampled_from(["a", "b", "A", "*", "?", "[ab]", "[!a]", "[a-b]", "[]a]", "[!]]", "[", "]", "!"]), min_size=1, max_size=4).map("".join)


def hit(tgt: str | Sequence[str], tgt_type: str) -> set[str]:
    """Return the ids that a target hits; as on Windows, where letters' case does not matter."""
    if tgt_type == "list":
        return {minion for minion in IDS if minion in (tgt.split(",") if isinstance(tgt, str) else tgt)}
    return {minion for minion in IDS if fnmatch.fnmatchcase(minion, str(tgt).lower())}


@pytest.mark.costly
@given(st.lists(GLOBS, min_size=1, max_size=3), GLOBS)
def test_what_is_said_of_a_glob_is_so(globs: list[str], tgt: str) -> None:
    inside = set().union(*(hit(glob, "glob") for glob in globs))
    hits = hit(tgt, "glob")
    fit = MinionGlobs(globs).fit(tgt, "glob")

    assert fit is not Fit.YES or hits <= inside
    assert fit is not Fit.NO or not hits & inside


@given(globs=st.lists(GLOBS, min_size=1, max_size=3), ids=st.lists(st.sampled_from(IDS), max_size=4), as_text=st.booleans())
def test_a_list_is_decided_id_by_id(globs: list[str], ids: list[str], as_text: bool) -> None:
    inside = set().union(*(hit(glob, "glob") for glob in globs))
    hits = set(ids)
    expected = Fit.NO if not hits & inside else Fit.YES if hits <= inside else Fit.UNSURE

    assert MinionGlobs(globs).fit(",".join(ids) if as_text else ids, "list") is (Fit.YES if "*" in globs else expected)


@pytest.mark.parametrize(
    ("globs", "tgt", "fit"),
    [
        (["web*"], "web1", Fit.YES),
        (["web*"], "WEB1", Fit.YES),
        (["Web*"], "web[12]", Fit.YES),
        (["web?"], "web[12]", Fit.YES),
        (["web*"], "web*", Fit.YES),
        (["web*"], "web??", Fit.YES),
        (["web*", "db*"], "db1", Fit.YES),
        (["*"], "[!a]*", Fit.YES),
        (["web*"], "db*", Fit.NO),
        (["web*"], "db1", Fit.NO),
        (["*.prod"], "*.test", Fit.NO),
        (["web[12]"], "web3", Fit.NO),
        (["web"], "web?", Fit.NO),
        (["web1"], "*", Fit.UNSURE),
        (["web*"], "*1", Fit.UNSURE),
        (["web1", "web2"], "web[12]", Fit.UNSURE),
        (["web*"], "[wd]eb1", Fit.UNSURE),
        (["web[12]"], "WEB[12]", Fit.YES),
        (["web[123]"], "web[12]", Fit.UNSURE),
        (["web*"], "x" * 1000, Fit.NO),
        (["web*"], "x" * (MOST_CHARACTERS - 1) + "*", Fit.NO),
        (["web*"], "x" * MOST_CHARACTERS + "*", Fit.UNSURE),
        (["web*"], "\xfc*", Fit.UNSURE),
        (["web*"], "\xfc", Fit.NO),
        (["web*"], "web**", Fit.YES),
        (["we**b*"], "we*b", Fit.YES),
    ],
)
def test_globs_are_compared_as_far_as_it_goes(globs: list[str], tgt: str, fit: Fit) -> None:
    assert MinionGlobs(globs).fit(tgt, "glob") is fit


@pytest.mark.parametrize("tgt_type", "pcre grain grain_pcre pillar pillar_pcre pillar_exact nodegroup range compound compound_pillar_exact ipcidr".split())
def test_only_all_minions_are_sure_to_have_those_of_another_type_of_target(tgt_type: str) -> None:
    assert MinionGlobs(["web1"]).fit("web1", tgt_type) is Fit.UNSURE
    assert MinionGlobs(["web1", "*"]).fit("web1", tgt_type) is Fit.YES


def test_a_list_in_any_spelling_names_the_same_ids() -> None:
    spellings = ["web1,web2", " web1 , web2 ", ["web1", "web2"], ["web1,web2"], ",web1,,web2,"]

    assert {MinionGlobs(["web1"]).fit(tgt, "list") for tgt in spellings} == {Fit.UNSURE}
    assert {MinionGlobs(["web*"]).fit(tgt, "list") for tgt in spellings} == {Fit.YES}
    assert MinionGlobs(["web*"]).fit([], "list") is Fit.NO


@pytest.mark.slow
def test_two_long_globs_are_compared_at_once() -> None:
    """With a walk through all pairs of places this would take minutes."""
    assert MinionGlobs(["*a" * 60 + "b"] * 500).fit("*a" * 60 + "c", "glob") is Fit.NO
