"""Sections and sentences: spans against the words that they must hold."""

from __future__ import annotations

import itertools

import pytest

from textseg3d.reports.sections import Section, split_sections, split_sentences


def whole(text):
    return Section("findings", "", 0, len(text))


def sentences(text):
    return [text[s.start : s.end] for s in split_sentences(text, whole(text))]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One thing. Another thing.", ["One thing.", "Another thing."]),
        ("A nodule of 3.5 mm is seen. No other.", ["A nodule of 3.5 mm is seen.", "No other."]),
        ("Seen by Dr. Example today. Done.", ["Seen by Dr. Example today.", "Done."]),
        ("1. First\n2. Second", ["First", "Second"]),
        ("- first\n- second\n", ["first", "second"]),
        ("A line that\nis wrapped. Next", ["A line that\nis wrapped.", "Next"]),
        ("A paragraph\n\nanother", ["A paragraph", "another"]),
        ("No effusion; no pneumothorax", ["No effusion;", "no pneumothorax"]),
        ("What? Yes!", ["What?", "Yes!"]),
        ("  \n .. \n", []),
    ],
)
def test_sentences(text, wanted):
    assert sentences(text) == wanted


def test_spans_never_overlap_and_keep_order():
    text = "1. A b c.\n2. D e.g. f 1.2 g.\n\n- h; i\nj k. " * 5
    spans = [(s.start, s.end) for s in split_sentences(text, whole(text))]
    assert spans == sorted(spans)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    covered = "".join(text[a:b] for a, b in spans)
    assert [c for c in covered if c in "Defghijk"] == [c for c in text if c in "Defghijk"]


def test_sections():
    text = (
        "Some words\nINDICATION: cough\nFINDINGS\nLungs: clear.\nPleural effusion: none.\n"
        "IMPRESSION: normal\nSigned: X"
    )
    found = split_sections(text, lambda words: "effusion" in words)
    assert [(s.kind, s.title) for s in found] == [
        ("other", ""),
        ("history", "INDICATION"),
        ("findings", "Lungs"),
        ("impression", "IMPRESSION"),
        ("signature", "Signed"),
    ]
    assert text[found[2].start : found[2].end].strip() == "clear.\nPleural effusion: none."


def kinds(text):
    structures = ("Lungs", "Liver", "LUNGS")
    found = split_sections(text, lambda _: False, lambda words: words in structures)
    return [(s.kind, text[s.start : s.end].strip()) for s in found]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "Exam: CT abdomen.\nThe liver is cirrhotic.\nNo ascites.",
            [("technique", "CT abdomen."), ("findings", "The liver is cirrhotic.\nNo ascites.")],
        ),
        (
            "TECHNIQUE: axial CT,\n1 mm slices.\nLUNGS: a nodule.",
            [("technique", "axial CT,\n1 mm slices."), ("findings", "a nodule.")],
        ),
        (
            "History: cough.\n\nThere is a nodule.\n\nImpression: nodule.",
            [
                ("history", "cough."),
                ("findings", "There is a nodule."),
                ("impression", "nodule."),
            ],
        ),
        (
            "HISTORY:\n\n64 years, cough,\nprior resection.\n\nFINDINGS: a nodule.",
            [("history", "64 years, cough,\nprior resection."), ("findings", "a nodule.")],
        ),
        (
            "Comparison: none.\nContrast: 80 ml.\nLungs: clear.\nLiver: a cyst.",
            [
                ("comparison", "none."),
                ("technique", "80 ml."),
                ("findings", "clear."),
                ("findings", "a cyst."),
            ],
        ),
    ],
)
def test_findings_without_a_heading_of_their_own(text, wanted):
    assert kinds(text) == wanted
