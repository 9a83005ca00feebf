"""summary.json: by hand, and against the installed nnunetv2."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.evaluation.phantoms import box, save_zyx
from textseg3d.errors import GeometryError, InputError, UsageError
from textseg3d.evaluation.protocols import FolderRequest, protocol
from textseg3d.evaluation.protocols.folders import label_set
from textseg3d.evaluation.protocols.nnunet import score_folder, score_labels

SHAPE = (6, 7, 8)
DATASET = {"labels": {"background": 0, "liver": 1, "tumour": 2}, "file_ending": ".nii.gz"}
REGIONS = {
    "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "edge": 3, "ignore": 4},
    "regions_class_order": [1, 2, 3],
    "file_ending": ".nii.gz",
    "channel_names": {"0": "CT"},
    "numTraining": 2,
}


def _labels(seed, high=3):
    rng = np.random.default_rng(seed)
    return rng.integers(0, high, size=SHAPE).astype(np.uint8)


def _dataset(tmp_path, data=DATASET):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(data))
    return path


def _folders(tmp_path, cases=("a", "b"), high=3):
    for index, case in enumerate(cases):
        save_zyx(tmp_path / "truth" / f"{case}.nii.gz", _labels(index, high), (3, 1, 1))
        save_zyx(tmp_path / "pred" / f"{case}.nii.gz", _labels(index + 10, high), (3, 1, 1))
    return tmp_path / "truth", tmp_path / "pred"


def test_one_case_by_hand():
    truth = 1 * box((4, 4, 4), (0, 0, 0), (1, 2, 2)) + 2 * box((4, 4, 4), (3, 0, 0), (1, 1, 3))
    prediction = 1 * box((4, 4, 4), (0, 0, 0), (1, 2, 3))
    result = score_labels(truth, prediction, (1, 2, 3))
    assert result["1"]["Dice"] == pytest.approx(8 / 10, abs=1e-6)
    assert result["1"]["IoU"] == pytest.approx(4 / 6, abs=1e-6)
    assert [result["1"][k] for k in ("TP", "FP", "FN", "TN", "n_pred", "n_ref")] == [
        *(4, 2, 0, 58, 6, 4)
    ]
    assert result["2"]["Dice"] == 0.0  # empty prediction
    assert np.isnan(result["3"]["Dice"])  # in neither
    swapped = score_labels(prediction, truth, (2,))
    assert swapped["2"]["Dice"] == 0.0  # empty truth
    assert swapped["2"]["FP"] == 3


def test_ignored_voxels_by_hand():
    truth = np.array([[[1, 1, 9, 9, 0]]])
    prediction = np.array([[[1, 0, 1, 1, 1]]])
    assert score_labels(truth, prediction, (1,), 9)["1"] == {
        "Dice": 0.5,
        "IoU": 1 / 3,
        "TP": 1,
        "FP": 1,
        "FN": 1,
        "TN": 0,
        "n_pred": 2,
        "n_ref": 2,
    }


@pytest.mark.parametrize("regions", [False, True])
def test_parity_with_nnunetv2(tmp_path, regions):
    nnunet = pytest.importorskip("nnunetv2.evaluation.evaluate_predictions")
    handling = pytest.importorskip("nnunetv2.utilities.label_handling.label_handling")
    io = pytest.importorskip("nnunetv2.imageio.simpleitk_reader_writer")
    data = REGIONS if regions else DATASET
    truth, prediction = _folders(tmp_path, high=5 if regions else 3)
    if not regions:  # a label that one case lacks in both files
        save_zyx(truth / "c.nii.gz", np.minimum(_labels(5), 1), (3, 1, 1))
        save_zyx(prediction / "c.nii.gz", np.minimum(_labels(6), 1), (3, 1, 1))
    dataset = _dataset(tmp_path, data)
    ours = score_folder(FolderRequest(truth, prediction, dataset))

    manager = handling.LabelManager(data["labels"], data.get("regions_class_order"))
    scored = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    assert list(label_set(FolderRequest(truth, prediction, dataset)).scored) == list(scored)
    theirs = []
    for path in sorted(truth.iterdir()):
        theirs.append(
            nnunet.compute_metrics(
                str(path), str(prediction / path.name), io.SimpleITKIO(), scored,
                manager.ignore_label,
            )
        )  # fmt: skip
    for mine, peer in zip(ours["metric_per_case"], theirs, strict=True):
        assert set(mine) == set(peer)
        assert list(mine["metrics"]) == [nnunet.label_or_region_to_key(k) for k in scored]
        for label in scored:
            assert set(mine["metrics"][str(label)]) == set(peer["metrics"][label])
            for key, value in peer["metrics"][label].items():
                np.testing.assert_allclose(mine["metrics"][str(label)][key], value, rtol=1e-12)
    for label in scored:
        for key in ours["mean"][str(label)]:
            expected = np.nanmean([p["metrics"][label][key] for p in theirs])
            assert ours["mean"][str(label)][key] == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_summary_json_has_nnunets_keys_and_numbers(tmp_path):
    nnunet = pytest.importorskip("nnunetv2.evaluation.evaluate_predictions")
    io = pytest.importorskip("nnunetv2.imageio.simpleitk_reader_writer")
    truth, prediction = _folders(tmp_path)
    out = tmp_path / "summary.json"
    nnunet.compute_metrics_on_folder(
        str(truth), str(prediction), str(out), io.SimpleITKIO(), ".nii.gz", [1, 2], None, 1
    )
    theirs = json.loads(out.read_text())
    ours = json.loads(json.dumps(score_folder(FolderRequest(truth, prediction, labels=(1, 2)))))
    assert set(ours) == set(theirs)
    for key in ("mean", "foreground_mean", "metric_per_case"):
        assert _flat(ours[key]) == _flat(theirs[key])


def _flat(value, prefix=""):
    if isinstance(value, dict):
        return {k: v for n, item in value.items() for k, v in _flat(item, f"{prefix}/{n}").items()}
    if isinstance(value, list):
        return {
            k: v for n, item in enumerate(value) for k, v in _flat(item, f"{prefix}/{n}").items()
        }
    return {prefix: value}


def test_a_missing_prediction_is_an_error_unless_chill(tmp_path):
    truth, prediction = _folders(tmp_path, ("a", "b"))
    (prediction / "b.nii.gz").unlink()
    dataset = _dataset(tmp_path)
    with pytest.raises(InputError, match=r"1 of 2 predictions are missing .*b\.nii\.gz"):
        score_folder(FolderRequest(truth, prediction, dataset))
    left = score_folder(FolderRequest(truth, prediction, dataset, chill=True))
    assert len(left["metric_per_case"]) == 1
    (prediction / "a.nii.gz").unlink()
    with pytest.raises(InputError, match="no prediction at all"):
        score_folder(FolderRequest(truth, prediction, dataset, chill=True))


def test_a_prediction_without_truth_is_an_error(tmp_path):
    truth, prediction = _folders(tmp_path, ("a", "b"))
    (truth / "b.nii.gz").unlink()
    with pytest.raises(InputError, match=r"b\.nii\.gz has no truth"):
        score_folder(FolderRequest(truth, prediction, _dataset(tmp_path)))


def test_wrong_grid_is_an_error_or_resampled(tmp_path):
    truth = np.zeros((4, 6, 6), np.uint8)
    truth[1:3, 2:4, 2:4] = 1
    save_zyx(tmp_path / "truth" / "a.nii.gz", truth, (2, 1, 1))
    fine = np.repeat(np.repeat(truth, 2, axis=1), 2, axis=2)  # 0.5 mm in-plane
    path = save_zyx(tmp_path / "pred" / "a.nii.gz", fine, (2, 0.5, 0.5))
    import nibabel

    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[:2, 3] = 0.25  # voxel centres: LPS -0.25 mm
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), path)
    request = FolderRequest(tmp_path / "truth", tmp_path / "pred", labels=(1,))
    with pytest.raises(GeometryError, match=r"another grid than the truth.*--resample"):
        score_folder(request)
    again = score_folder(
        FolderRequest(tmp_path / "truth", tmp_path / "pred", labels=(1,), resample=True)
    )
    assert again["mean"]["1"]["Dice"] == pytest.approx(1.0)


def test_same_shape_but_shifted_origin_is_a_wrong_grid(tmp_path):
    import nibabel

    truth, prediction = _folders(tmp_path, ("a",))
    image = nibabel.load(prediction / "a.nii.gz")
    affine = image.affine.copy()
    affine[2, 3] += 6
    data = np.asarray(image.dataobj)
    nibabel.save(nibabel.Nifti1Image(data, affine), prediction / "a.nii.gz")
    with pytest.raises(GeometryError, match="6 mm apart"):
        score_folder(FolderRequest(truth, prediction, _dataset(tmp_path)))


def test_flipped_file_axes_are_the_same_grid(tmp_path):
    import nibabel

    truth, prediction = _folders(tmp_path, ("a",))
    dataset = _dataset(tmp_path)
    before = score_folder(FolderRequest(truth, prediction, dataset))
    image = nibabel.load(prediction / "a.nii.gz")
    flipped = image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    nibabel.save(flipped, prediction / "a.nii.gz")
    after = score_folder(FolderRequest(truth, prediction, dataset))
    assert after["mean"] == before["mean"]


def test_labels_that_are_no_integers_are_refused(tmp_path):
    truth, prediction = _folders(tmp_path, ("a",))
    save_zyx(prediction / "a.nii.gz", np.full(SHAPE, 0.5), (3, 1, 1), np.float32)
    with pytest.raises(InputError, match="not whole numbers"):
        score_folder(FolderRequest(truth, prediction, _dataset(tmp_path)))


def test_truncated_file_is_an_input_error(tmp_path):
    truth, prediction = _folders(tmp_path, ("a",))
    data = (prediction / "a.nii.gz").read_bytes()
    (prediction / "a.nii.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"a\.nii\.gz cannot be read as NIfTI"):
        score_folder(FolderRequest(truth, prediction, _dataset(tmp_path)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"labels": {"liver": 1}}, "`background`"),
        ({"labels": {"background": 0, "liver": "x"}}, "'liver' is 'x'"),
        ({"labels": {"background": 0, "ignore": [1, 2]}}, "ignore label must be one integer"),
        ({"labels": {"background": 0}}, "no foreground label"),
        ([], "`labels`"),
    ],
)
def test_foreign_dataset_json(tmp_path, data, message):
    truth, prediction = _folders(tmp_path, ("a",))
    with pytest.raises(InputError, match=message):
        score_folder(FolderRequest(truth, prediction, _dataset(tmp_path, data)))


def test_plans_are_checked(tmp_path):
    truth, prediction = _folders(tmp_path, ("a",))
    plans = tmp_path / "plans.json"
    request = FolderRequest(truth, prediction, _dataset(tmp_path), plans=plans)
    plans.write_text(json.dumps({"configurations": {}}))
    assert score_folder(request)["metric_per_case"]
    plans.write_text(json.dumps({"configurations": {}, "label_manager": "MyManager"}))
    with pytest.raises(InputError, match="'MyManager'"):
        score_folder(request)
    plans.write_text("{}")
    with pytest.raises(InputError, match="`configurations`"):
        score_folder(request)
    plans.write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        score_folder(request)


def test_which_labels_has_to_be_said_once(tmp_path):
    truth, prediction = _folders(tmp_path, ("a",))
    with pytest.raises(UsageError, match="pass -djfile"):
        score_folder(FolderRequest(truth, prediction))
    with pytest.raises(UsageError, match="given twice"):
        score_folder(FolderRequest(truth, prediction, _dataset(tmp_path), labels=(1,)))


@pytest.mark.slow
def test_processes_give_the_same(tmp_path):
    truth, prediction = _folders(tmp_path)
    one = score_folder(FolderRequest(truth, prediction, _dataset(tmp_path)))
    two = score_folder(FolderRequest(truth, prediction, _dataset(tmp_path), processes=2))
    assert one == two


def test_protocols_by_name():
    assert protocol("nnunet") is score_folder
    with pytest.raises(UsageError, match="did you mean 'nnunet'"):
        protocol("nnunett")
