"""Patterns of matchers mean what Python's engine means by them, and never take long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.pattern import Pattern, PatternError

ATOMS = st.sampled_from(["a", "b", "-", ".", "[ab]", "[^a]", "[a-c_]", r"\d", r"\w", r"\.", "(?:a|b)"])


def grow(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeated = st.tuples(parts, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{1,}"]))
    return st.one_of(
        repeated.map(lambda p: f"({p[0]}){p[1]}"),
        st.lists(parts, min_size=1, max_size=3).map("".join),
        st.lists(parts, min_size=2, max_size=3).map(lambda p: f"({'|'.join(p)})"),
    )


PATTERNS = st.recursive(ATOMS, grow, max_leaves=8).filter(lambda p: len(p) <= 80)


@given(PATTERNS, st.lists(st.text("abc-._1", max_size=8), min_size=1, max_size=8))
def test_it_matches_what_pythons_engine_matches(pattern: str, texts: list[str]) -> None:
    try:
        ours = Pattern(pattern)
    except PatternError:  # `{m,n}` of `{m,n}` of `{m,n}`
        return
    theirs = re.compile(pattern, re.ASCII | re.DOTALL)
    assert [ours.matches(text) for text in texts] == [theirs.fullmatch(text) is not None for text in texts]


def test_it_is_of_the_whole_text_with_anchors_or_without() -> None:
    for text in ("api|auth", "^api|auth$", "^(api|auth)$"):
        pattern = Pattern(text)
        assert [pattern.matches(t) for t in ("api", "auth", "apis", "an api", "")] == [True, True, False, False, False]


def test_what_makes_other_engines_hang_is_over_at_once() -> None:
    assert Pattern("(a+)+b").matches("a" * 5000) is False
    assert Pattern("(a|a)*(a|a)*b").matches("a" * 5000) is False


@pytest.mark.parametrize(
    "text",
    [
        "(", ")", "[a", "a**", "*a", "(?=a)", r"(a)\1", r"\bx", "a{2", "a{3,1}", "a{101}", "a^b", "[z-a]", "\\",
        "a" * 201, "(((a{50}){50}){50})", "(" * 60 + "a" + ")" * 60, "a+?",
    ],
)  # fmt: skip
def test_what_it_does_not_know_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(PatternError, match=r"\w+ \w+"):
        Pattern(text)
