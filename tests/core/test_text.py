"""Text from outside, made fit for use."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_fleet.core.text import clean, shorten, slug


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Fix the login!", "fix-the-login"),
        ("Ærø: Straße für Zoë", "aero-strasse-fur-zoe"),
        ("修正", "task"),
        ("--", "task"),
        (
            "fix the login of users that have never logged in",
            "fix-the-login-of-users-that-have-never",
        ),
        ("x" * 60, "x" * 40),
    ],
)
def test_a_title_becomes_part_of_a_branch_name(title: str, expected: str):
    assert slug(title) == expected


@given(st.text())
def test_a_slug_always_has_its_shape(title: str):
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", slug(title))


@given(st.text())
def test_clean_text_has_no_control_characters_and_stays_clean(text: str):
    cleaned = clean(text)

    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", cleaned)
    assert clean(cleaned) == cleaned


@given(st.text())
def test_a_shortened_text_is_one_bounded_line(text: str):
    line = shorten(text)

    assert len(line) <= 200
    assert len(line.splitlines()) <= 1
