"""What single prompts mean, beyond the phrasings file."""

from __future__ import annotations

import pytest

from textseg3d.errors import PromptError
from textseg3d.text.grammar import Attribute, Order, PromptTarget, check_prompt, parse_prompt
from textseg3d.text.knowledge import Target, load_tree


def only(text: str) -> PromptTarget:
    parsed = parse_prompt(text)
    assert len(parsed.targets) == 1, parsed
    return parsed.targets[0]


def sides(text: str) -> list[tuple[str, str | None]]:
    return [(target.concept, target.side) for target in parse_prompt(text).targets]


def test_the_documented_example() -> None:
    record = parse_prompt("6 mm nodule in the LLL", known=["pulmonary nodule"]).to_json()
    target = record["targets"][0]
    assert record["status"] == "ok"
    assert record["corrections"] == []
    assert record["hint"] is None
    expected = {
        "concept": "pulmonary nodule",
        "side": "left",
        "container": "lower lobe of left lung",
        "size_mm": [6.0, 6.0],
        "order": None,
        "known_to_model": True,
    }
    assert {key: target[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("largest liver cyst", Order("largest")),
        ("second largest liver cyst", Order("largest", rank=2)),
        ("the two largest liver cysts", Order("largest", count=2)),
        ("most anterior liver cyst", Order("anterior")),
        ("uppermost liver cyst", Order("superior")),
        ("lowest liver cyst", Order("inferior")),
        ("leftmost liver cyst", Order("left")),
    ],
)
def test_order(text: str, order: Order) -> None:
    assert only(text).order == order
    assert only(text).side is None


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("three liver cysts", (3, 3)),
        ("multiple liver cysts", (2, None)),
        ("solitary liver cyst", (1, 1)),
        ("4 liver cysts", (4, 4)),
    ],
)
def test_count(text: str, count: tuple[int, int | None]) -> None:
    assert only(text).count == count


def test_describing_words_are_kept_apart_from_the_concept() -> None:
    target = only("new spiculated part-solid pulmonary nodule in the right upper lobe")
    assert (target.concept, target.broader) == ("subsolid pulmonary nodule", "pulmonary nodule")
    assert {(a.kind, a.value) for a in target.attributes} >= {
        ("chronicity", "new"),
        ("margin", "spiculated"),
    }
    assert only("non-calcified lung nodule").attributes == (
        Attribute("density", "calcified", True),
    )
    target = only("calcified lung nodule")
    assert (target.concept, target.broader) == ("calcified pulmonary nodule", "pulmonary nodule")
    target = only("enlarged spleen")
    assert (target.concept, target.specific) == ("spleen", "splenomegaly")


@pytest.mark.parametrize(
    ("text", "concept", "side", "size"),
    [
        ("Tear of the left rotator cuff with a maximum gap of 2 cm.", "tendon tear", "left", 20),
        ("Pilonidal sinus with a tract length of 45 mm.", "pilonidal sinus", None, 45),
        ("Liver mass with a wall thickness of 4 mm.", "liver tumor", None, None),
        ("Liver cyst; diameter of the quux 8 mm.", "hepatic cyst", None, None),
        ("Diameter of the aorta 45 mm.", "aorta", None, 45),
        ("pulp of tooth 11", "pulp of upper central incisor", "right", None),
        ("distal phalanx of left pinky", "distal phalanx of little finger", "left", None),
        ("Ovarian cyst next to the left ovary, 3 cm.", "ovarian cyst", "left", 30),
        ("Avascular necrosis, left hip", "osteonecrosis", "left", None),
        ("abscess in the second web space of the right hand", "abscess", "right", None),
        ("vestibular schwannoma, right CPA", "vestibular schwannoma", "right", None),
        ("left CPA effusion", "pleural effusion", "left", None),
        ("chronic PE", "chronic pulmonary embolism", None, None),
        ("Wall thickening involving cecum and sigmoid.", "bowel wall thickening", None, None),
    ],
)
def test_what_belongs_to_a_finding(
    text: str, concept: str, side: str | None, size: float | None
) -> None:
    target = only(text)
    assert (target.concept, target.side) == (concept, side)
    assert target.size_mm == (None if size is None else (size, size))


def test_a_change_that_is_denied() -> None:
    parsed = parse_prompt("The left ureter is not dilated.")
    assert parsed.status == "negated"
    assert [(t.concept, t.side) for t in parsed.targets] == [("hydroureter", "left")]
    assert parse_prompt("the non-dilated left ureter").targets[0].concept == "ureter"
    parsed = parse_prompt("The left ureter is not dilated, 3 cm mass in the liver.")
    assert [target.concept for target in parsed.targets] == ["liver tumor"]
    assert [target.concept for target in parsed.negated] == ["hydroureter"]


def test_exclusions_and_neighbours() -> None:
    target = only("liver without the gallbladder and lesions")
    assert target.concept == "liver"
    assert target.certainty == "affirmed"
    assert [place.name for place in target.exclusions] == ["gallbladder", "liver lesion"]
    target = only("nodule near the left hilum")
    assert [place.side for place in target.near] == ["left"]
    assert target.side == "left"


def test_mixed_prompts_ask_for_what_is_affirmed() -> None:
    parsed = parse_prompt("left pleural effusion, no pneumothorax")
    assert parsed.status == "ok"
    assert [(t.concept, t.side) for t in parsed.targets] == [("pleural effusion", "left")]
    assert [t.concept for t in parsed.negated] == ["pneumothorax"]


def test_sides_of_chambers_belong_to_the_name() -> None:
    assert sides("left atrium") == [("left atrium", None)]
    assert sides("LT ventricle") == [("left ventricle", None)]
    assert sides("left and right atrium") == [("left atrium", None), ("right atrium", None)]
    assert sides("both atria") == [("left atrium", None), ("right atrium", None)]
    assert sides("atrium, left") == [("left atrium", None)]


@pytest.mark.parametrize(
    "text", ["left liver", "left middle lobe", "left right kidney", "right LLL"]
)
def test_contradictions_have_hints_and_no_targets(text: str) -> None:
    parsed = parse_prompt(text)
    assert parsed.status == "contradiction"
    assert parsed.targets == ()
    assert parsed.hint


def test_single_organs_suggest_their_lobe() -> None:
    assert "left lobe of liver" in (parse_prompt("left liver").hint or "")
    assert parse_prompt("left lobe of liver").status == "ok"


@pytest.mark.parametrize(
    ("text", "concept", "got", "read_as"),
    [
        ("kidny", "kidney", "kidny", "kidney"),
        ("Panceras", "pancreas", "Panceras", "pancreas"),
        ("rigth kidney", "kidney", "rigth", "right"),
        ("lefft kidney", "kidney", "lefft", "left"),
    ],
)
def test_corrections_are_reported(text: str, concept: str, got: str, read_as: str) -> None:
    parsed = parse_prompt(text)
    assert [t.concept for t in parsed.targets] == [concept]
    assert [(c.got, c.read_as) for c in parsed.corrections] == [(got, read_as)]


@pytest.mark.parametrize("text", ["lef kidney", "letf kidney", "riht kidney", "light kidney"])
def test_a_damaged_side_is_never_guessed(text: str) -> None:
    parsed = parse_prompt(text)
    assert parsed.status == "unknown"
    assert "spelled out" in (parsed.hint or "")


def test_equally_near_words_are_not_corrected_silently() -> None:
    parsed = parse_prompt("hypedense liver lesion")
    assert parsed.corrections == ()
    assert "'hyperdense' or 'hypodense'" in (parsed.hint or "")


@pytest.mark.parametrize("text", ["renal foobar", "foobar of the kidney", "kidney foobar"])
def test_a_place_alone_does_not_answer_for_an_unknown_thing(text: str) -> None:
    assert parse_prompt(text).status == "unknown"


def test_abbreviations_with_two_meanings_are_pointed_out() -> None:
    assert "could also mean" in (parse_prompt("LAD").hint or "")


def test_common_words_are_no_abbreviations() -> None:
    assert sides("it is in the liver or as a part of la") == [("liver", None)]


def test_known_to_model() -> None:
    tree = load_tree()
    known = [
        "left kidney",
        "upper lobe of left lung",
        "lower lobe of left lung",
        "pulmonary nodule",
    ]
    texts = [
        "left kidney",
        "right kidney",
        "both kidneys",
        "left lung",
        "right lung",
        "lung nodule",
    ]
    found = [parse_prompt(text, tree, known).targets[0].known_to_model for text in texts]
    assert found == [True, False, False, True, False, True]
    targets = {Target("kidney", "left"), Target("kidney", "right")}
    assert parse_prompt("both kidneys", tree, targets).targets[0].known_to_model is True
    assert parse_prompt("left kidney", tree).targets[0].known_to_model is None


@pytest.mark.parametrize("text", ["a\x00b", "left\x1bkidney", "x" * 2001, "\ud800"])
def test_unsafe_prompts_are_refused(text: str) -> None:
    with pytest.raises(PromptError):
        check_prompt(text)
    assert parse_prompt(text).status == "unknown"


def test_languages() -> None:
    assert sides("in der linken Niere eine Zyste") == [("renal cyst", "left")]
    assert sides("nodule du poumon gauche") == [("pulmonary nodule", "left")]
    assert sides("quiste en el riñón izquierdo") == [("renal cyst", "left")]
    assert sides("左肺下叶结节") == [("pulmonary nodule", "left")]
    assert only("l'aorte").side is None
    for text in ("kein Pneumothorax", "pas de pneumothorax", "sin neumotórax", "无胸腔积液"):
        assert parse_prompt(text).status == "negated"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("left upper and lower lobes", [("upper", "left"), ("lower", "left")]),
        ("left upper and right lower lobe", [("upper", "left"), ("lower", "right")]),
        ("upper and lower lobes of the left lung", [("upper", "left"), ("lower", "left")]),
        (
            "right upper, middle and lower lobes",
            [(w, "right") for w in ("upper", "middle", "lower")],
        ),
    ],
)
def test_shared_heads(text: str, expected: list[tuple[str, str]]) -> None:
    assert sides(text) == [(f"{word} lobe of lung", side) for word, side in expected]


def test_shared_heads_of_ordinals() -> None:
    assert sides("left 6th and 7th ribs") == [("6th rib", "left"), ("7th rib", "left")]
    assert sides("upper and lower pole of the left kidney") == [
        ("upper pole of kidney", "left"),
        ("lower pole of kidney", "left"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "neither kidney shows a stone",
        "no lobe shows consolidation",
        "there isn't any nodule",
        "prior left pneumothorax has resolved",
        "no longer seen nodule",
    ],
)
def test_denied_in_other_words(text: str) -> None:
    parsed = parse_prompt(text)
    assert parsed.status == "negated"
    assert all(target.certainty == "negated" for target in parsed.targets)


def test_a_denied_place_is_left_out() -> None:
    target = only("nodule in the right upper lobe and not in the left upper lobe")
    assert target.side == "right"
    assert [place.name for place in target.exclusions] == ["upper lobe of left lung"]
    assert only("nodule on the right, none on the left").side == "right"


def test_findings_denied_of_a_normal_organ() -> None:
    parsed = parse_prompt("The kidneys are normal without hydronephrosis.")
    assert parsed.status == "negated"
    assert [t.concept for t in parsed.targets] == ["hydronephrosis"]
    assert parse_prompt("The common bile duct is dilated without stones.").status == "ok"


def test_what_a_finding_is_taken_for_is_no_second_target() -> None:
    target = only("mass in the left upper lobe, suspicious for malignancy")
    assert Attribute("interpretation", "cancer") in target.attributes


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("right ACA (anterior cerebral artery)", [("anterior cerebral artery", "right")]),
        ("Left inguinal hernia containing sigmoid colon.", [("inguinal hernia", "left")]),
        ("left ribs 3-5", [("3rd rib", "left"), ("4th rib", "left"), ("5th rib", "left")]),
        ("C3 to C5 vertebrae", [(f"C{n} vertebra", None) for n in (3, 4, 5)]),
        ("L4/5 disc", [("L4-L5 disc", None)]),
        ("cuneiform bone, medial, right foot", [("medial cuneiform bone", "right")]),
        ("lateral segment of the RML", [("lateral segment of middle lobe", "right")]),
        ("Lungs: 8 mm nodule LLL.", [("pulmonary nodule", "left")]),
        ("# left clavicle", [("clavicle fracture", "left")]),
        ("left hand only, not the right one", [("hand", "left")]),
        ("wrist bones: lunate and hamate", [("lunate bone", None), ("hamate bone", None)]),
        ("necrosis in the right gluteus maximus", [("necrosis", "right")]),
        ("mediastinal LAD", [("mediastinal lymphadenopathy", None)]),
        ("stenosis of the LAD", [("coronary stenosis", None)]),
        ("the quux grindle thing", []),
    ],
)
def test_how_radiologists_write(text: str, wanted: list[tuple[str, str | None]]) -> None:
    assert sides(text) == wanted


def test_a_report_denies_what_a_sound_structure_is_without() -> None:
    parsed = parse_prompt("Pancreas perfused throughout, without evidence of pancreatic necrosis.")
    assert parsed.status == "negated"
    assert [target.concept for target in parsed.negated] == ["pancreatic necrosis"]
    assert parse_prompt("liver without lesions").status == "ok"


@pytest.mark.parametrize(
    ("text", "concept", "side", "size"),
    [
        (
            "5 mm calculus in the upper and lower poles of the left kidney",
            "kidney stone",
            "left",
            5,
        ),
        ("Lymphoma of 3 cm in the left kidney tethered to the right psoas", "lymphoma", "left", 30),
        ("Left renal mass, 6 cm; right kidney unremarkable.", "renal mass", "left", 60),
        ("Fracture of the left clavicle; the right one is normal.", "clavicle fracture", "left", 0),
        ("Mass effect on the right thalamus from a 4.1 cm glioma.", "glioma", "right", 41),
        ("Beading of the left renal artery due to vasculitis", "vasculitis", "left", 0),
    ],
)
def test_sides_and_sizes_between_unknown_words(
    text: str, concept: str, side: str, size: float
) -> None:
    target = only(text)
    assert (target.concept, target.side) == (concept, side)
    assert target.size_mm == ((size, size) if size else None)


def test_pieces_share_their_whole() -> None:
    found = parse_prompt("body and medial limb of the right adrenal gland").targets
    assert [target.side for target in found] == ["right", "right"]
    assert [target.concept for target in found] == ["adrenal body", "medial limb of adrenal gland"]
    assert only("S7+8 of LLL").concept == "anteromedial basal segment of lung"
    assert only("2R nodes").concept == "upper paratracheal lymph nodes"


RML, LLL = "middle lobe of right lung", "lower lobe of left lung"


@pytest.mark.parametrize(
    ("text", "side", "places"),
    [
        ("Tree-in-bud opacities are seen in the right middle lobe and the left lower lobe.",
         "both", [RML, LLL]),
        ("emphysema in both upper lobes and the left lower lobe", "both",
         ["upper lobes of lungs", LLL]),
        ("consolidation in the right middle and lower lobes", "right",
         [RML, "lower lobe of right lung"]),
        ("emphysema in the left upper and lower lobes", "left", ["left lung"]),
        ("edema in the left calf and the right thigh", "both",
         ["left lower leg", "right thigh"]),
        ("colitis involving the splenic flexure and descending colon", None,
         ["left colic flexure", "descending colon"]),
        ("Compression fractures of T12 and L2.", None, ["T12 vertebra", "L2 vertebra"]),
        ("metastases in L1, L3 and L5", None, ["L1 vertebra", "L3 vertebra", "L5 vertebra"]),
    ],
)  # fmt: skip
def test_one_finding_in_several_places_lies_in_those_alone(text, side, places):
    parsed = parse_prompt(text)
    assert len(parsed.targets) == 1
    target = parsed.to_json()["targets"][0]
    assert target["side"] == side
    assert [place["name"] for place in target["containers"]] == places
    assert all(name in target["container"] for name in places)
    apart = parsed.targets[0].apart()
    assert [one.container for one in apart] == places
    assert all(one.side == one.container_place.side for one in apart if side == "both")


def test_no_place_and_one_place_in_the_json():
    liver, nodule = (parse_prompt(t).to_json()["targets"][0] for t in ("liver", "LLL nodule"))
    assert (liver["container"], liver["containers"]) == (None, [])
    assert nodule["container"] == LLL
    assert nodule["containers"] == [{"concept": "lower lobe of lung", "side": "left", "name": LLL}]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Invasive ductal carcinoma (IDC) of the left breast.", [("breast cancer", "left")]),
        ("non-ossifying fibroma (NOF) of the right tibia", [("non-ossifying fibroma", "right")]),
        ("caudate lobe (segment 1)", [("caudate lobe of liver", None)]),
        ("right lower lobe (RLL)", [("lower lobe of lung", "right")]),
        ("liver (segment 7)", [("liver segment 7", None)]),
        ("liver (S7) and spleen", [("liver segment 7", None), ("spleen", None)]),
        ("Obstructing stone in the left ureter with upstream hydroureter.",
         [("ureteral stone", "left"), ("hydroureter", "left")]),
        ("Left renal mass with resulting ascites.", [("renal mass", "left"), ("ascites", None)]),
        ("The contralateral kidney is normal; left renal mass.", [("renal mass", "left")]),
        ("The right kidney is normal; left renal mass.", [("renal mass", "left")]),
        ("contralateral (left) kidney", [("kidney", "left")]),
    ],
)  # fmt: skip
def test_repetitions_effects_and_the_other_side(text, wanted):
    assert [(target.concept, target.side) for target in parse_prompt(text).targets] == wanted


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("burst fracture of L1 with 5 mm retropulsion", [None]),
        ("fracture of the left clavicle displaced by 4 mm", [None]),
        ("fracture of the right radius with 3 mm displacement", [None]),
        ("mass in the liver, increased by 4 mm", [None]),
        ("Left subdural hematoma with 5 mm midline shift.", [None, (5.0, 5.0)]),
        ("lung mass with 5 mm invasion of the pleura, 30 mm", [(30.0, 30.0)]),
        ("nodule, measured by 4 mm slices", [None]),
        ("8 mm lung nodule displaced by 4 mm", [(8.0, 8.0)]),
    ],
)
def test_a_size_belongs_to_what_was_measured(text, sizes):
    assert [target.size_mm for target in parse_prompt(text).targets] == sizes


def test_one_denial_over_several_places():
    parsed = parse_prompt("no effusion in either lung or the pericardium")
    assert parsed.status == "negated"
    assert [target.concept for target in parsed.targets] == [
        "pleural effusion",
        "pericardial effusion",
    ]


@pytest.mark.parametrize(
    ("text", "by"),
    [
        ("the larger of the two nodules in the left lung", "largest"),
        ("the smaller of the two nodules in the left lung", "smallest"),
        ("the largest of the three nodules in the left lung", "largest"),
        ("the nodule in the left lung with the largest diameter", "largest"),
    ],
)
def test_one_of_several_is_one(text: str, by: str) -> None:
    target = only(text)
    assert (target.concept, target.side) == ("pulmonary nodule", "left")
    assert target.order == Order(by, 1, 1)
