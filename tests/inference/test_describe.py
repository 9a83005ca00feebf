"""Descriptions of boxes whose sizes, places and neighbours are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from textseg3d.inference.describe import context_names, density_class, describe_result
from textseg3d.inference.masks import PackedMask
from textseg3d.inference.prompts import Vocabulary
from textseg3d.inference.result import PromptResult
from textseg3d.io.volume import volume_from_array

SHAPE = (20, 30, 40)  # (z, y, x) at 3, 2, 1 mm
MIDDLE = np.full(SHAPE[0], 19.5)


def block(z, y, x):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[slice(*z), slice(*y), slice(*x)] = True
    return mask


def packed(mask):
    box = tuple(slice(int(w.min()), int(w.max()) + 1) for w in np.nonzero(mask))
    return PackedMask.pack(SHAPE, box, np.ascontiguousarray(mask[box]))


NODULE = block((5, 7), (10, 14), (32, 37))  # 5 x 8 x 6 mm
SPECK = block((15, 16), (20, 21), (5, 6))
CONTEXT = {
    "left lung": packed(block((2, 12), (5, 25), (25, 38))),
    "lungs": packed(block((2, 12), (5, 25), (3, 38))),
    "aorta": packed(block((5, 7), (10, 14), (37, 39))),  # shares a face
    "rib": packed(block((7, 8), (14, 15), (30, 32))),  # shares a corner with the nodule
    "liver": packed(block((16, 20), (0, 5), (0, 5))),
}


@pytest.fixture
def found():
    hu = np.full(SHAPE, -800, dtype=np.int16)
    hu[NODULE] = 60
    hu[SPECK] = 700
    volume = volume_from_array(hu.transpose(2, 1, 0), np.diag([1.0, 2.0, 3.0, 1.0]))
    result = PromptResult("nodule", "ok", 0.9, packed(NODULE | SPECK), (), (), (), volume)
    return describe_result(result, CONTEXT, MIDDLE)


def test_numbers(found):
    nodule, speck = found
    assert nodule.size_mm == (5.0, 8.0, 6.0)
    assert nodule.volume_ml == pytest.approx(5 * 4 * 2 * 6 / 1000)
    assert nodule.mean_hu == 60
    assert nodule.density == "soft tissue"
    assert nodule.longest_axial_diameter_mm == pytest.approx(np.hypot(4, 6) + 1.5)
    assert speck.size_mm == (1.0, 2.0, 3.0)
    assert speck.density == "bone or dense contrast"


def test_places(found):
    nodule, speck = found
    assert nodule.side == "left"
    assert nodule.containers == ("left lung", "lungs")
    assert nodule.touches == ("aorta", "rib")
    assert speck.side == "right"
    assert speck.containers == ()
    assert speck.touches == ()


def test_sentences(found):
    assert found[0].sentence == (
        "Nodule in left lung: 5 x 8 x 6 mm, 0.24 ml, mean 60 HU (soft tissue), touches aorta, rib."
    )
    assert "on the right" in found[1].sentence


def test_without_hu_and_midline(found):
    del found
    volume = volume_from_array(np.zeros(SHAPE[::-1], np.int16), np.eye(4))
    result = PromptResult("thing", "ok", 0.9, packed(NODULE), (), (), (), volume)
    (only,) = describe_result(result, {}, None, ct=False)
    assert (only.side, only.density, only.containers) == (None, None, ())
    assert "HU" not in only.sentence


def test_density_classes_do_not_overlap():
    names = [density_class(hu) for hu in range(-1024, 3000)]
    changes = sum(a != b for a, b in itertools.pairwise(names))
    assert changes == len(set(names)) - 1
    assert density_class(-100) == "fat"
    assert density_class(0) == "fluid"


def test_context_leaves_out_what_was_asked_and_pairs():
    vocabulary = Vocabulary(("left lung", "right lung", "lungs", "liver", "pulmonary nodule"))
    assert context_names(vocabulary, ["liver"]) == ("left lung", "right lung")


def test_the_command(tmp_path, model_folder, phantom, capsys):
    import json

    import nibabel as nib

    from textseg3d.cli.main import main

    affine = np.diag([-2.0, -2.5, 5.0, 1.0])
    nib.save(nib.Nifti1Image(phantom.transpose(2, 1, 0), affine), tmp_path / "ct.nii.gz")
    out = tmp_path / "out"
    code = main(
        ["predict", "-i", str(tmp_path / "ct.nii.gz"), "-p", "liver", "no spleen", "--describe",
         "-o", str(out), "--model", str(model_folder), "--quiet"]
    )  # fmt: skip
    assert code == 0
    assert sorted(p.name for p in out.iterdir()) == ["ct.json", "ct__liver.nii.gz"]
    liver, spleen = json.loads((out / "ct.json").read_text())["prompts"]
    assert "findings" not in spleen
    assert len(liver["findings"]) == min(len(liver["instances"]), 20)
    first, instance = liver["findings"][0], liver["instances"][0]
    assert first["volume_ml"] == pytest.approx(instance["volume_ml"], abs=1e-3)
    assert first["mean_hu"] == pytest.approx(instance["mean_hu"], abs=0.06)
    assert first["sentence"] in capsys.readouterr().out
