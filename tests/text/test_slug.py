from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textseg3d.text.slug import slugify


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("left lower lobe nodule", "left-lower-lobe-nodule"),
        ("liver", "liver"),
        ("kidney_left", "kidney_left"),
        ("6 mm nodule", "6-mm-nodule"),
    ],
)
def test_plain_text_is_kept_word_for_word(text: str, slug: str) -> None:
    assert slugify(text) == slug


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("T1-2", "T1 2"),
        ("Liver", "liver"),
        ("liver", "liver "),
        ("liver?", "liver!"),
        ("a" * 81, "a" * 82),
        ("kidney left", "kidney_left"),
        ("kidney  left", "kidney left"),
        ("肝", "脾"),
        ("🫀", "🫁"),
        ("\u00e9", "e\u0301"),
        ("", " "),
        ("con", "Con"),
    ],
)
def test_different_prompts_have_different_slugs(one: str, other: str) -> None:
    assert slugify(one) != slugify(other)


@pytest.mark.parametrize(
    "text",
    ["../../etc/passwd", "C:\\nul", "a\x00b", "<script>alert(1)</script>", "nul", "-rf", "\ud800"],
)
def test_hostile_text_gives_a_safe_name(text: str) -> None:
    slug = slugify(text)
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", slug)
    assert slug not in {"con", "nul", "aux", "prn"}
    assert len(slug) <= 80


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=120), st.text(max_size=120))
def test_slug_is_injective_and_safe(one: str, other: str) -> None:
    for text in (one, other):
        assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,79}", slugify(text))
    assert (slugify(one) == slugify(other)) == (one == other)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab -_A", max_size=6), st.text(alphabet="ab -_A", max_size=6))
def test_slug_is_injective_on_near_collisions(one: str, other: str) -> None:
    assert (slugify(one) == slugify(other)) == (one == other)
