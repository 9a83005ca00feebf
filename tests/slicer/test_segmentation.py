"""Scans in the scene, a real server, segments: the same physical voxels as the command line's."""

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import slicer
import slicer.util
import vtk
from TextSeg3DLib import mrml
from TextSeg3DLib.backends import LocalBackend, RemoteBackend
from TextSeg3DLib.errors import TextSegError
from TextSeg3DLib.install import Installer
from TextSeg3DLib.logic import Logic
from TextSeg3DLib.scan import Scan
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from tests.model_factory import make_model
from textseg3d.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ["left kidney", "liver"]
SPACING = (3.0, 2.5, 4.0)  # along i, j, k
ORIGIN = (12.0, -34.0, 56.0)
SHAPE = (18, 22, 24)  # k, j, i


def turned(about_z, about_x):
    a, b = np.deg2rad([about_z, about_x])
    first = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    second = [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    return np.array(first) @ np.array(second)


# Columns: where i, j, k point to, in LPS.
GEOMETRIES = {
    "supine": np.eye(3),
    "prone": np.diag([-1.0, -1, 1]),
    "mirrored rows": np.diag([1.0, -1, 1]),
    "feet last": np.diag([1.0, 1, -1]),
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "sagittal": np.array([[0, 0, 1.0], [1, 0, 0], [0, -1, 0]]),
    "oblique": turned(25, -17),
    "oblique flipped": turned(-31, 12) @ np.diag([1.0, -1, -1]),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


def environment():
    search = os.pathsep.join((str(ROOT), str(ROOT / "kernels")))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": search}


@pytest.fixture(scope="module")
def backend(model, tmp_path_factory):
    """The extension's own: finds textseg3d in this Python, and starts a real server."""
    installer = Installer(tmp_path_factory.mktemp("none") / "environment", environment())
    made = LocalBackend(installer, environment())
    made.choose(sys.executable, str(model), "cpu")
    yield made
    made.stop()


@pytest.fixture
def logic(scene, backend):
    """Runs on the warm server, and takes its scan away again."""
    made = Logic(scene, backend)
    yield made
    made.forget()


def voxels(seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=SHAPE).cumsum(0) * 60).clip(-1000, 1000).astype(np.int16)


@pytest.fixture(scope="module")
def by_command_line(model, tmp_path_factory):
    """Name of a geometry → prompt → LPS places of the mask's voxels, [N, 3]."""
    import torch

    folder, out = tmp_path_factory.mktemp("scans"), tmp_path_factory.mktemp("masks")
    for name, direction in GEOMETRIES.items():
        image = SimpleITK.GetImageFromArray(voxels())
        image.SetSpacing(SPACING)
        image.SetOrigin(ORIGIN)
        image.SetDirection(direction.ravel().tolist())
        SimpleITK.WriteImage(image, str(folder / f"{name}.nrrd"))
    threads = torch.get_num_threads()
    asked = ["-i", str(folder), "-p", *PROMPTS, "-o", str(out), "--format", "nrrd"]
    with pytest.MonkeyPatch.context() as patch:  # as many threads as the server has
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        code = main(["predict", "--quiet", "--model", str(model), "--device", "cpu", *asked])
        torch.set_num_threads(threads)
    assert code == 0
    found = {}
    for name in GEOMETRIES:
        found[name] = {}
        for prompt in PROMPTS:
            image = SimpleITK.ReadImage(str(out / f"{name}__{prompt.replace(' ', '-')}.nrrd"))
            index = np.argwhere(SimpleITK.GetArrayFromImage(image))[:, ::-1]
            step = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
            found[name][prompt] = index @ step.T + image.GetOrigin()
    return found


def add_volume(scene, array, direction_lps, name="ct"):
    """A scalar volume node as Slicer has it after loading: geometry in RAS."""
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(array.reshape(-1), deep=True))
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetAndObserveImageData(image)
    flip = np.diag([-1.0, -1, 1])
    node.SetSpacing(*SPACING)
    node.SetOrigin(*(flip @ ORIGIN))
    node.SetIJKToRASDirections(*(flip @ direction_lps).ravel())
    return node


def places(node, segment_id):
    """LPS places of a segment's voxels, [N, 3], with the transforms above the node."""
    image = node.GetSegmentation().GetSegment(segment_id).GetRepresentation("Binary labelmap")
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    array = vtk_to_numpy(image.GetPointData().GetScalars())
    index = np.argwhere(array.reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1))[:, ::-1]
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    above = vtk.vtkMatrix4x4()
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetMatrixTransformToWorld(above)
    vtk.vtkMatrix4x4.Multiply4x4(above, matrix, matrix)
    affine = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    ras = (index + np.array([i0, j0, k0])) @ affine[:3, :3].T + affine[:3, 3]
    return ras * (-1, -1, 1)


def in_order(points):
    rounded = points.round(3) + 0.0
    return rounded[np.lexsort(rounded.T)]


class Ended:
    """What a run said."""

    def __init__(self, logic):
        self.logic, self.finished, self.failed, self.steps, self.cancelled = logic, [], [], [], 0
        logic.finished.connect(lambda *values: self.finished.append(values))
        logic.failed.connect(self.failed.append)
        logic.progress.connect(lambda *values: self.steps.append(values))
        logic.cancelled.connect(self.count)

    def count(self):
        self.cancelled += 1

    def wait(self, seconds=120):
        deadline = time.monotonic() + seconds
        while self.logic.is_running:
            assert time.monotonic() < deadline
            self.logic.poll()
            time.sleep(0.02)
        return self


def run(logic, *arguments):
    """Start, wait, and return (segmentation, rows, ids)."""
    ended = Ended(logic)
    logic.start(*arguments)
    ended.wait()
    assert ended.failed == []
    return ended.finished[0]


@pytest.mark.parametrize("name", GEOMETRIES)
def test_physical_voxels_are_the_command_lines(name, scene, logic, by_command_line):
    volume = add_volume(scene, voxels(), GEOMETRIES[name])
    node, rows, ids = run(logic, volume, PROMPTS)
    assert [row["prompt"] for row in rows] == PROMPTS
    for prompt, segment_id in zip(PROMPTS, ids):
        expected = by_command_line[name][prompt]
        found = places(node, segment_id)
        assert len(found) == len(expected) > 50
        assert np.abs(in_order(found) - in_order(expected)).max() < 0.01
        assert node.GetSegmentation().GetSegment(segment_id).GetName() == prompt


def entry_of(node, name):
    segmentation = node.GetSegmentation()
    segment = segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName(name))
    return segment.GetTerminology()


def test_side_of_left_kidney_and_none_of_liver(scene, logic):
    volume = add_volume(scene, voxels(), GEOMETRIES["oblique"])
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    together, _, _ = run(logic, volume, ["left kidney", "liver"], None, table)
    after, _, _ = run(logic, volume, ["left kidney"], None, table)
    same, rows, _ = run(logic, volume, ["liver", "liver "], after, table)
    assert same is after
    for node in (together, after):
        kidney, liver = entry_of(node, "left kidney").split("~"), entry_of(node, "liver").split("~")
        assert kidney[1:4] == [
            "SCT^123037004^Anatomical Structure",
            "SCT^64033007^Kidney",
            "SCT^7771000^Left",
        ]
        assert liver[2:4] == ["SCT^10200004^Liver", "^^"]
        # Slicer's own reader, with a fresh entry each.
        for name, side in (("left kidney", "Left"), ("liver", None)):
            entry = slicer.vtkSlicerTerminologyEntry()
            terms = slicer.vtkSlicerTerminologiesModuleLogic()
            assert terms.DeserializeTerminologyEntry(entry_of(node, name), entry)
            modifier = entry.GetTypeModifierObject()
            assert (modifier.GetCodeMeaning() if modifier else None) == side
    (row,) = rows  # the same prompt twice is one
    assert row["codes"] == "Liver (SCT 10200004)"
    assert row["volume_ml"] > 0
    assert table.GetTable().GetNumberOfRows() == 4
    assert table.GetCellText(3, 0) == "liver"
    assert float(table.GetCellText(3, 3)) == pytest.approx(row["volume_ml"], rel=1e-4)
    colours = {together.GetSegmentation().GetNthSegment(n).GetColor() for n in range(2)}
    assert len(colours) == 2


def test_again_appends_and_the_scan_is_sent_once(scene, logic):
    volume = add_volume(scene, voxels(1), GEOMETRIES["supine"])
    node, _, _ = run(logic, volume, ["liver"])
    ended = Ended(logic)
    logic.start(volume, ["liver", "no spleen", "heart"], node)
    ended.wait()
    stages = {text.split(",")[0] for _, text in ended.steps}
    assert "sending the scan" not in stages
    segmentation = node.GetSegmentation()
    names = [segmentation.GetNthSegment(n).GetName() for n in range(3)]
    assert names == ["liver", "liver (2)", "heart"]
    rows = ended.finished[0][1]
    assert [row["status"] for row in rows][1] == "negated, not looked for"
    assert rows[1]["volume_ml"] is None
    percents = [percent for percent, _ in ended.steps]
    assert percents == sorted(percents)
    # A changed volume is sent again.
    volume.SetOrigin(0, 0, 0)
    ended = Ended(logic)
    logic.start(volume, ["liver"], None)
    assert "sending the scan" in {text.split(",")[0] for _, text in ended.wait().steps}


def test_under_a_transform(scene, logic, by_command_line):
    """A supine volume turned by a transform is the oblique scan."""
    volume = add_volume(scene, voxels(), GEOMETRIES["supine"])
    flip, turn = np.diag([-1.0, -1, 1]), turned(25, -17)
    matrix = np.eye(4)
    matrix[:3, :3] = flip @ turn @ flip
    matrix[:3, 3] = flip @ (np.array(ORIGIN) - turn @ ORIGIN)
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    inner = vtk.vtkMatrix4x4()
    inner.DeepCopy(matrix.ravel())
    parent.SetMatrixTransformToParent(inner)
    volume.SetAndObserveTransformNodeID(parent.GetID())
    node, _, (segment_id, _) = run(logic, volume, PROMPTS)
    expected = by_command_line["oblique"]["left kidney"]
    assert np.abs(in_order(places(node, segment_id)) - in_order(expected)).max() < 0.01
    other = add_volume(scene, voxels(), GEOMETRIES["supine"])
    with pytest.raises(TextSegError, match="under another transform"):
        mrml.segmentation_for(scene, other, node)


def test_what_is_no_scan(scene, logic):
    volume = add_volume(scene, voxels(), GEOMETRIES["supine"])
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    for node, prompts, message in (
        (empty, ["liver"], "no voxels"),
        (None, ["liver"], "choose a volume"),
        (volume, [" "], "type what to look for"),
    ):
        with pytest.raises(TextSegError, match=message):
            logic.start(node, prompts)
    grid = scene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    grid.SetAndObserveTransformFromParent(slicer.vtkOrientedGridTransform())
    volume.SetAndObserveTransformNodeID(grid.GetID())
    with pytest.raises(TextSegError, match="not linear"):
        logic.start(volume, ["liver"])
    with pytest.raises(TextSegError, match="not those of a scan"):
        Scan(np.zeros((2, 2, 2), complex), np.eye(4)).encode()
    assert not logic.is_running


def test_bad_prompts_and_volumes_that_go(scene, logic):
    volume = add_volume(scene, voxels(), GEOMETRIES["supine"])
    ended = Ended(logic)
    logic.start(volume, ["left right kidney"])
    ended.wait()
    assert "the server said 400" in ended.failed[0]
    logic.start(volume, ["liver"])
    scene.RemoveNode(volume)
    ended.wait()
    assert "the volume is gone" in ended.failed[1]


def test_a_remote_server(scene, backend, by_command_line):
    client = backend.connect(threading.Event(), print)
    remote = RemoteBackend()
    logic = Logic(scene, remote)
    volume = add_volume(scene, voxels(), GEOMETRIES["coronal"])
    for url, token, message in (
        ("nowhere", "", "no address of a server"),
        (client.url, "wrong", "the token is wrong"),
        ("http://127.0.0.1:9", "x", "cannot be reached"),
    ):
        remote.choose(url, token)
        ended = Ended(logic)
        logic.start(volume, ["liver"])
        assert message in ended.wait().failed[0]
    remote.choose(client.url, client._token)
    node, _, (_, segment_id) = run(logic, volume, PROMPTS)
    expected = by_command_line["coronal"]["liver"]
    assert np.abs(in_order(places(node, segment_id)) - in_order(expected)).max() < 0.01
    said = []
    logic.connected.connect(said.append)
    logic.test()
    Ended(logic).wait()
    assert said[0]["model"] == "tiny"
    image = logic._sent[1]
    logic.close()  # deletes the scan there, and leaves a server that is not ours alone
    with pytest.raises(TextSegError, match="404"):
        client.submit(image, ["liver"])
    assert client.capabilities()["model"] == "tiny"
