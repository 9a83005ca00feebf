"""Samples from the preprocessed store: true labels, every finding, the scan's own intensities."""

from __future__ import annotations

import dataclasses
import json

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.training.phantoms import SHAPE, phantom, write_dataset, write_nifti
from textseg3d.dataset import Dataset
from textseg3d.errors import InputError, PlansError
from textseg3d.plans import Intensity, Plans
from textseg3d.plans.jsonio import to_json
from textseg3d.plans.planner import Facts, plan_experiment
from textseg3d.preprocessing.fingerprinting import extract_fingerprint
from textseg3d.preprocessing.intensity import normalise
from textseg3d.preprocessing.pipeline import preprocess_dataset
from textseg3d.training.augment import change_intensities, random_matrix
from textseg3d.training.configure import prompted_configuration
from textseg3d.training.stored import StoreDataset
from textseg3d.training.targets import dataset_targets

NAME = "3d_fullres"


def prepare(tmp_path, cases=4, channel="CT", change=None):
    """A phantom dataset, planned and preprocessed: (dataset, plans, store)."""
    folder = write_dataset(tmp_path / "Dataset007_Phantom", cases)
    path = folder / "dataset.json"
    data = json.loads(path.read_text())
    data["channel_names"] = {"0": channel}
    path.write_text(json.dumps(data))
    if change is not None:
        change(folder)
    dataset = Dataset.load(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textseg3d.preprocessing.fingerprinting.FOREGROUND_SAMPLES", 30_000)
        fingerprint = extract_fingerprint(dataset)
    planned = plan_experiment(fingerprint, Facts(folder.name, (channel,), 5, cases, ".nii.gz"))
    plans = Plans.from_dict(planned.plans)
    return dataset, plans, preprocess_dataset(dataset, plans, NAME, tmp_path / "out")


def source(dataset, plans, store, **options):
    targets = dataset_targets(dataset.description)
    return StoreDataset(
        store, store.names(), plans, NAME, prompted_configuration(plans, NAME), targets, **options
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("stored"))


def test_labels_become_the_trees_names_with_wordings(prepared):
    targets = dataset_targets(prepared[0].description)
    names = [t.name for t in targets.entries]
    assert names == ["left kidney", "right kidney", "liver", "spleen"]
    left = targets.entries[0]
    assert left.wordings[0] == "kidney of the left flank"
    assert left.opposite == "right kidney"
    assert targets.values["spleen"] == (4,)


def test_a_label_that_the_tree_lacks_keeps_its_name(prepared):
    description = prepared[0].description
    strange = dataclasses.replace(description.labels[0], name="Blob_A", wordings=())
    targets = dataset_targets(dataclasses.replace(description, labels=(strange,)))
    assert targets.entries[0].name == "Blob A"
    assert targets.labels == {"Blob A": "Blob_A"}


def test_an_unchanged_window_is_the_scan_itself(prepared):
    """Without augmentation, the input equals the scheme applied to the original HU."""
    data = source(*prepared, augment=False, seed=3, prompts=4)
    configuration = data.configuration
    hu = {}
    for number in range(4):
        values, _ = phantom(number, spleen=number % 2 == 0)
        hu[f"p{number:02d}"] = torch.from_numpy(values.astype(np.int16).astype(np.float32))
    seen = 0
    for index in range(6):
        s = data[index]
        expected = normalise(hu[s.case][None], configuration.intensity)
        x = s.x.float()
        low = float(expected.min())
        # The window is larger than the scan: the scan lies in it whole, at some offset.
        for z in range(x.shape[1] - SHAPE[0] + 1):
            for y in range(x.shape[2] - SHAPE[1] + 1):
                for xx in range(x.shape[3] - SHAPE[2] + 1):
                    part = x[:, z : z + SHAPE[0], y : y + SHAPE[1], xx : xx + SHAPE[2]]
                    if torch.allclose(part, expected, atol=0.02):
                        seen += 1
                        rest = x.sum() - part.sum()
                        outside = x.numel() - part.numel()
                        assert float(rest) == pytest.approx(low * outside, rel=0.01)
    assert seen == 6


def test_positions_are_those_that_prediction_uses(prepared):
    """The body box and the scan's place in a window give the same coordinate of the same voxel."""
    data = source(*prepared, augment=False, prompts=4)
    from textseg3d.preprocessing import body_box

    for index in range(4):
        s = data[index]
        values, _ = phantom(int(s.case[1:]), spleen=int(s.case[1:]) % 2 == 0)
        box = body_box(values, (4.0, 4.0, 4.0))
        step = (s.position[:, 1] - s.position[:, 0]) / (torch.tensor(s.x.shape[1:]) - 1)
        half = torch.from_numpy((box[:, 1] - box[:, 0] + 1) / 2).float()
        torch.testing.assert_close(step, 1 / half)


def test_every_finding_is_asked_and_absence_is_verified(prepared):
    """Half of the cases have no spleen: there it is asked too, and never present."""
    data = source(*prepared, prompts=4, seed=1)
    spleen = data.index["spleen"]
    present = {True: set(), False: set()}
    for index in range(40):
        s = data[index]
        for row, target in enumerate(s.prompts.tolist()):
            if target == spleen:
                present[int(s.case[1:]) % 2 == 0].add(float(s.presence[row]))
                if int(s.case[1:]) % 2:
                    assert s.fine_mask[row].sum() == 0
    assert present[False] == {0.0}
    assert 1.0 in present[True]


def test_small_components_are_seen_as_often_as_large_ones(tmp_path):
    """A label of one large and three tiny parts: window centres fall on each part alike."""

    def speckle(folder):
        _, labels = phantom(0, spleen=False)
        labels[labels > 0] = 0
        labels[4:18, 6:24, 12:28] = 3
        for z in (20, 23, 26):
            labels[z, 10:12, 5] = 3
        write_nifti(folder / "labelsTr" / "p00.nii.gz", labels)

    data = source(*prepare(tmp_path, cases=2, change=speckle), prompts=4)
    places = data.facts("p00").places["liver"]
    small = (places[:, 0] >= 20).mean()
    assert small == pytest.approx(0.75)


def test_sides_survive_augmentation(prepared):
    data = source(*prepared, prompts=4)
    right, left = data.index["right kidney"], data.index["left kidney"]
    seen = 0
    for index in range(25):
        s = data[index]
        rows = {int(p): row for row, p in enumerate(s.prompts)}
        both = [s.fine_mask[rows[t]] for t in (right, left) if t in rows]
        if len(both) == 2 and all(m.sum() > 20 for m in both):
            seen += 1
            centres = [torch.nonzero(m)[:, 2].float().mean() for m in both]
            assert centres[0] < centres[1]
    assert seen > 5


def test_samples_depend_on_seed_and_index_alone(prepared):
    a, b = source(*prepared, seed=5), source(*prepared, seed=5)
    b[11]
    for index in (3, 0):
        assert torch.equal(a[index].x, b[index].x)
        assert torch.equal(a[index].fine_mask, b[index].fine_mask)


def test_mr_input_is_what_prediction_makes_of_the_scan(tmp_path):
    """nnU-Net's z-score was undone by the z-score inside the body: the same values, to bf16."""
    dataset, plans, store = prepare(tmp_path, cases=2, channel="T1")
    data = source(dataset, plans, store, augment=False, prompts=4)
    assert data.configuration.intensity[0].scheme == "zscore"
    hu, _ = phantom(0, spleen=True)
    expected = normalise(
        torch.from_numpy(hu.astype(np.int16).astype(np.float32))[None],
        data.configuration.intensity,
    )
    sample = next(s for s in (data[i] for i in range(9)) if s.case == "p00")
    values, wanted = sample.x.float(), expected
    assert float(values.max()) == pytest.approx(float(wanted.max()), abs=0.02)
    assert float(values.min()) == pytest.approx(float(wanted.min()), rel=0.02)


def test_ignored_voxels_do_not_count(tmp_path):
    def mark(folder):
        data = json.loads((folder / "dataset.json").read_text())
        data["labels"]["ignore"] = 5
        (folder / "dataset.json").write_text(json.dumps(data))
        path = folder / "labelsTr" / "p00.nii.gz"
        image = nib.load(path)
        labels = np.asarray(image.dataobj).copy()
        labels[:10] = 5
        nib.save(nib.Nifti1Image(labels, image.affine), path)

    data = source(*prepare(tmp_path, cases=2, change=mark), augment=False, prompts=4)
    for s in (data[i] for i in range(6)):
        if s.case == "p00":
            assert s.known is not None
            assert [tuple(k.shape[1:]) for k in s.known[1:]] == [m.shape[1:] for m in s.masks]
            assert 0 < float(s.known[1].mean()) < 1
        else:
            assert s.known is None


def test_a_missing_case_is_named(prepared):
    dataset, plans, store = prepared
    with pytest.raises(InputError, match="has no case p99; run `textseg3d preprocess`"):
        StoreDataset(
            store, ["p99"], plans, NAME, prompted_configuration(plans, NAME),
            dataset_targets(dataset.description),
        )  # fmt: skip


def test_the_patch_fits_the_networks_strides(prepared):
    _, plans, _ = prepared
    found = prompted_configuration(plans, NAME, network="base")
    stages = len(found.architecture.arch_kwargs["widths"])
    assert all(n % 2**stages == 0 for n in found.patch_size)
    assert all(n >= s for n, s in zip(found.patch_size, SHAPE))
    with pytest.raises(PlansError, match="did you mean 'small'"):
        prompted_configuration(plans, NAME, network="smal")


def test_nnunets_own_plans_give_the_same_configuration(prepared):
    """Without our key ``intensity``, the scheme follows from nnU-Net's normalisation."""
    _, plans, _ = prepared
    data = to_json(plans)
    for configuration in data["configurations"].values():
        del configuration["intensity"]
    theirs = Plans.from_dict({k: v for k, v in data.items() if k != "flat_configurations"})
    assert prompted_configuration(theirs, NAME) == prompted_configuration(plans, NAME)


def test_transposed_plans_give_a_configuration_in_scan_order(prepared):
    _, plans, _ = prepared
    found = plans.configuration(NAME)
    turned = dataclasses.replace(
        plans,
        transpose_forward=(1, 0, 2),
        transpose_backward=(1, 0, 2),
        configurations={
            NAME: dataclasses.replace(found, spacing=(5.0, 2.0, 1.0), patch_size=(16, 64, 96))
        },
    )
    own = prompted_configuration(turned, NAME)
    assert own.spacing == (2.0, 5.0, 1.0)
    assert own.patch_size == (64, 16, 96)


def test_an_intensity_that_preprocessing_destroyed_is_refused(prepared):
    _, plans, _ = prepared
    wide = dataclasses.replace(
        plans.configuration(NAME), intensity=(Intensity(windows=((-1000.0, 1000.0),)),)
    )
    with pytest.raises(PlansError, match="CTNormalization, which does not keep"):
        prompted_configuration(dataclasses.replace(plans, configurations={NAME: wide}), NAME)


def test_grids_with_thick_slices_are_rotated_not_sheared():
    """In millimetres the matrix is a stretch times a rotation: M·Mᵀ is diagonal, det M > 0."""
    spacing = (5.0, 1.0, 1.0)
    mm = torch.tensor(spacing)
    changed = 0
    for seed in range(40):
        matrix = random_matrix(torch.Generator().manual_seed(seed), spacing)
        if matrix is None:
            continue
        changed += 1
        in_mm = matrix * mm[:, None] / mm[None, :]
        gram = in_mm @ in_mm.T
        torch.testing.assert_close(gram, torch.diag(gram.diag()), rtol=0, atol=1e-5)
        assert torch.linalg.det(in_mm) > 0.2  # never mirrored
    assert changed > 10


def test_intensity_changes_are_finite_and_differ():
    x = torch.randn((12, 14, 16), generator=torch.Generator().manual_seed(0))
    changed = [change_intensities(torch.Generator().manual_seed(s), x) for s in range(25)]
    assert all(torch.isfinite(c).all() and c.shape == x.shape for c in changed)
    assert sum(not torch.equal(c, x) for c in changed) > 15
