"""The schema of the knowledge tree's data: fields, references, codes, ambiguous names."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from textseg3d.errors import InputError
from textseg3d.text.knowledge import Concept, KnowledgeTree, load_tree
from textseg3d.text.knowledge.concept import KINDS, LANGUAGES, REGIONS, SIDE_RULES
from textseg3d.text.knowledge.tree import read_concepts

DATA = Path(load_tree.__wrapped__.__code__.co_filename).parent / "data"
LINES = [
    (path.name, number, line)
    for path in sorted(DATA.glob("*.jsonl"))
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
]
REFERENCES = ("part_of", "contains", "adjacent_to", "containers")

# Forms that stand for two concepts of one kind, wherever that cannot be avoided.
# What the sentence names besides decides (grammar/senses.py).
AMBIGUOUS_WITHIN_A_KIND = {"cpa"}
# Abbreviations that stand for a structure and for a finding; the words around them decide.
AMBIGUOUS_ACROSS_KINDS = {"rcc", "lad", "pca"}


@pytest.fixture(scope="module")
def tree() -> KnowledgeTree:
    return load_tree()


def test_size_of_the_tree(tree):
    kinds = Counter(concept.kind for concept in tree)
    assert kinds["anatomy"] >= 800
    assert kinds["finding"] >= 250
    assert {concept.region for concept in tree} == set(REGIONS)
    assert sum(path.stat().st_size for path in DATA.glob("*.jsonl")) < 2_500_000


def test_no_file_is_too_long_to_read():
    lengths = Counter(name for name, _, _ in LINES)
    assert max(lengths.values()) < 200
    assert len(lengths) > 15


def test_every_line_round_trips_through_the_dataclass():
    for name, number, line in LINES:
        record = json.loads(line)
        assert Concept.from_json(record).to_json() == record, f"{name}:{number}"


def test_fields_hold_allowed_values(tree):
    for concept in tree:
        where = concept.name
        assert concept.kind in KINDS, where
        assert concept.side_rule in SIDE_RULES, where
        assert concept.region in REGIONS, where
        assert concept.category, where
        assert concept.modalities, where
        assert set(concept.modalities) <= {"CT", "MR", "PET"}, where
        assert set(concept.translations) <= set(LANGUAGES), where
        assert set(concept.sided_forms) <= {"left", "right"}, where
        for low_high in (concept.size_mm, concept.hu):
            assert low_high is None or low_high[0] < low_high[1], where
        assert concept.size_mm is None or 0 < concept.size_mm[0] <= 2000, where
        assert concept.hu is None or -1050 <= concept.hu[0] < concept.hu[1] <= 3100, where
        assert set(concept.totalsegmentator.values()) <= {None, "left", "right", "both"}, where
        assert not concept.union or concept.contains, where
        for template in (concept.sided_name, *concept.sided_synonyms):
            assert template is None or "{side}" in template, where
        for side in ("left", "right"):
            wrong = "right" if side == "left" else "left"
            for form in concept.sided_forms.get(side, ()):
                assert wrong not in form.lower().split(), where


def test_definitions_are_sentences_of_their_own(tree):
    for concept in tree:
        assert 20 <= len(concept.definition) <= 240, concept.name
        assert concept.definition[0].isupper(), concept.name
        assert concept.definition.endswith("."), concept.name
    repeated = Counter(concept.definition for concept in tree)
    assert not [text for text, count in repeated.items() if count > 1]


def test_definitions_and_names_are_english_in_one_spelling(tree):
    british = re.compile(r"oesoph|haem|oedem|anaem|caec|\bgoitre")
    for concept in tree:
        assert not british.search(concept.name.lower()), concept.name
        assert concept.name.isascii(), concept.name
        assert concept.name == " ".join(concept.name.split())


def test_references_resolve(tree):
    for concept in tree:
        for key in REFERENCES:
            names = getattr(concept, key)
            assert len(set(names)) == len(names), (concept.name, key)
            assert concept.name not in names, (concept.name, key)
            for name in names:
                assert name in tree, (concept.name, key, name)
        for name in concept.containers:
            assert tree.concept(name).kind == "anatomy", (concept.name, name)


def test_findings_have_containers_and_anatomy_has_wholes(tree):
    for concept in tree:
        if concept.kind == "finding":
            missing = not concept.containers and concept.name != "patient table"
            assert not missing, concept.name
        else:
            assert concept.part_of or concept.name == "body", concept.name
            assert not concept.containers, concept.name


@pytest.mark.parametrize("key", ["part_of", "contains"])
def test_relations_have_no_cycles(tree, key):
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path, name))
        if name not in done:
            for other in getattr(tree.concept(name), key):
                walk(other, (*path, name))
            done.add(name)

    for concept in tree:
        walk(concept.name, ())


def test_all_anatomy_belongs_to_the_body(tree):
    for concept in tree:
        if concept.kind == "anatomy" and concept.name != "body":
            assert "body" in {target.concept for target in tree.ancestors(concept.name)}


def test_parts_of_paired_wholes_are_sided(tree):
    for concept in tree:
        if concept.side_rule == "paired":
            for name in concept.contains:
                part = tree.concept(name)
                assert part.side_rule in ("paired", "left", "right"), (concept.name, name)


def test_sides_in_names_belong_to_unpaired_structures(tree):
    for concept in tree:
        if {"left", "right"} & set(concept.name.split()):
            assert concept.side_rule == "unpaired", concept.name


def test_no_form_stands_for_two_concepts_of_one_kind(tree):
    for text, forms in tree.forms.items():
        by_kind = defaultdict(set)
        for form in forms:
            by_kind[tree.concept(form.concept).kind].add(form.concept)
        for names in by_kind.values():
            assert len(names) == 1 or text in AMBIGUOUS_WITHIN_A_KIND, (text, names)
        if len(by_kind) > 1:
            assert text in AMBIGUOUS_ACROSS_KINDS, (text, by_kind)
    assert tree.forms.keys() >= AMBIGUOUS_ACROSS_KINDS


def test_no_form_is_empty_or_a_word_of_the_language(tree):
    words = "of the a an and or in on at no not with without to for is are mm cm left right both ct"
    assert "" not in tree.forms
    assert not set(words.split()) & tree.forms.keys()


def test_codes_are_those_of_pydicom(tree):
    concepts = pytest.importorskip("pydicom.sr._concepts_dict").concepts
    known = {
        (scheme, value, meaning)
        for scheme, keywords in concepts.items()
        for values in keywords.values()
        for value, (meaning, _) in values.items()
    }
    coded = [concept for concept in tree if concept.codes]
    assert len(coded) >= 500
    for concept in coded:
        for code in concept.codes:
            assert tuple(code) in known, (concept.name, code)
    shared = Counter(code.value for concept in coded for code in concept.codes)
    assert max(shared.values()) == 1, shared.most_common(3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("liver", "10200004"),
        ("kidney", "64033007"),
        ("spleen", "78961009"),
        ("lung", "39607008"),
        ("lower lobe of lung", "90572001"),
        ("aorta", "15825003"),
        ("T12 vertebra", "23215003"),
        ("urinary bladder", "89837001"),
        ("left atrium", "82471001"),
        ("pleural effusion", "60046008"),
    ],
)
def test_well_known_codes(tree, name, value):
    assert [code.value for code in tree.concept(name).codes] == [value]


def test_identifiers_have_the_form_of_their_scheme(tree):
    patterns = {
        "uberon": r"UBERON:\d{7}",
        "fma": r"FMA:\d+",
        "ta2": r"\d+(\*\d+)?",
        "sct": r"\d{6,18}",
    }
    for concept in tree:
        for scheme, value in concept.ids.items():
            assert re.fullmatch(patterns[scheme], value), (concept.name, scheme, value)


def test_identifiers_are_in_the_tables(tree, shared_data):
    folder = shared_data / "terminology"
    fma = (folder / "fma-uberon-bridge.tsv").read_text(encoding="utf-8")
    walks = [path.read_text(encoding="utf-8") for path in folder.glob("*crosswalk.csv")]
    ta2 = (folder / "TA2.csv").read_text(encoding="utf-8")
    numbers = set(re.findall(r";(\d+(?:\*\d+)?)\"?$", ta2, flags=re.MULTILINE))
    snomed = (folder / "totalsegmentator_snomed_mapping.csv").read_text(encoding="utf-8")
    tables = fma + "".join(walks)
    for concept in tree:
        if "fma" in concept.ids:
            assert concept.ids["fma"] in tables, concept.name
        if "ta2" in concept.ids:
            assert concept.ids["ta2"] in numbers, concept.name
        if "sct" in concept.ids:
            assert f",{concept.ids['sct']}," in snomed, concept.name


def test_two_hundred_concepts_have_four_more_languages(tree):
    translated = [concept for concept in tree if concept.translations]
    assert len(translated) >= 200
    for concept in translated:
        assert tuple(concept.translations) == LANGUAGES, concept.name
        for term in concept.translations["zh"]:
            assert re.fullmatch(r"[\u4e00-\u9fff]+", term), (concept.name, term)


def test_unknown_and_missing_keys_are_named(tmp_path):
    record = tree_record()
    with pytest.raises(InputError, match="did you mean 'synonyms'"):
        Concept.from_json({**record, "synonym": []})
    del record["definition"]
    with pytest.raises(InputError, match="lacks the key 'definition'"):
        Concept.from_json(record)
    broken = tmp_path / "broken.jsonl"
    broken.write_text("not json\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"broken\.jsonl, line 1"):
        read_concepts(broken)


def test_two_concepts_of_one_name_are_refused():
    concept = Concept.from_json(tree_record())
    with pytest.raises(InputError, match="given twice"):
        KnowledgeTree([concept, concept])


def tree_record() -> dict:
    return {
        "name": "thing",
        "kind": "anatomy",
        "category": "organ",
        "region": "head",
        "definition": "A thing for a test.",
    }
