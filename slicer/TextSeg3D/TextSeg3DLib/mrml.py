"""Slicer's nodes: a volume out of the scene, segments and a table of measurements into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import TextSegError
from .scan import Scan, Segment

COLUMNS = (
    ("prompt", "Prompt"),
    ("status", "Result"),
    ("presence", "Presence"),
    ("volume_ml", "Volume (ml)"),
    ("instances", "Instances"),
    ("diameter_mm", "Longest axial diameter (mm)"),
    ("mean_hu", "Mean HU"),
    ("codes", "Codes"),
    ("warnings", "Warnings"),
)
BINARY = "Binary labelmap"
_STATUS = {
    "ok": "found",
    "empty": "not found",
    "negated": "negated, not looked for",
    "unknown": "unknown to the model",
}


def scan_of(volume: Any) -> Scan:
    """A volume node as a scan; the voxels are copied.

    Linear transforms above the node count: the scan lies where Slicer shows it.

    Raises:
        TextSegError: for a node without voxels, with several values per voxel, or under a
            transform that is not linear.
    """
    import slicer.util
    import vtk

    image = volume.GetImageData() if volume is not None else None
    if image is None or image.GetNumberOfPoints() == 0:
        raise TextSegError("choose a volume; this one has no voxels")
    name = volume.GetName()
    if image.GetNumberOfScalarComponents() != 1:
        raise TextSegError(f"{name} has several values per voxel; choose a volume with one")
    to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(to_ras)
    parent = volume.GetParentTransformNode()
    if parent is not None:
        if not parent.IsTransformToWorldLinear():
            raise TextSegError(
                f"{name} is under a transform that is not linear (a tilted gantry, for example); "
                "harden the transform on the volume first"
            )
        above = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToWorld(above)
        vtk.vtkMatrix4x4.Multiply4x4(above, to_ras, to_ras)
    matrix = np.array([[to_ras.GetElement(i, j) for j in range(4)] for i in range(4)])
    key = (volume.GetID(), volume.GetMTime(), image.GetMTime(), matrix.tobytes())
    return Scan(slicer.util.arrayFromVolume(volume).copy(), matrix, key)


def segmentation_for(scene: Any, volume: Any, chosen: Any = None) -> Any:
    """The node that segments go to: the chosen one, or a new one beside the volume.

    Raises:
        TextSegError: if the chosen one is under another transform than the volume.
    """
    if chosen is not None:
        if chosen.GetTransformNodeID() != volume.GetTransformNodeID():
            raise TextSegError(
                f"{chosen.GetName()} is under another transform than {volume.GetName()}; choose "
                "another segmentation, or a new one"
            )
        return chosen
    name = scene.GenerateUniqueName(f"{volume.GetName()} TextSeg3D")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    _beside(scene, volume, node)
    return node


def _beside(scene: Any, volume: Any, node: Any) -> None:
    """Put a node into the volume's place of the subject hierarchy: its study, for DICOM export."""
    tree = scene.GetSubjectHierarchyNode()
    if tree is None:
        return
    item, parent = tree.GetItemByDataNode(node), tree.GetItemByDataNode(volume)
    if item and parent:
        tree.SetItemParent(item, tree.GetItemParent(parent))


def add_segments(node: Any, volume: Any, segments: Sequence[Segment]) -> list[str]:
    """Add segments to those that a segmentation has; return their ids.

    Each keeps its own label map, so segments may overlap. What was not found gets none.
    """
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(to_ras)
    segmentation = node.GetSegmentation()
    if hasattr(segmentation, "SetSourceRepresentationName"):
        segmentation.SetSourceRepresentationName(BINARY)
    else:  # Slicer before 5.4
        segmentation.SetMasterRepresentationName(BINARY)
    taken = {
        segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())
    }
    ids = []
    for found in segments:
        if not found.voxels.size:
            continue
        image = slicer.vtkOrientedImageData()
        corner = [edge for o, n in zip(found.offset, found.voxels.shape[::-1])
                  for edge in (o, o + n - 1)]  # fmt: skip
        image.SetExtent(corner)
        scalars = numpy_to_vtk(
            found.voxels.reshape(-1), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR
        )
        image.GetPointData().SetScalars(scalars)
        image.SetImageToWorldMatrix(to_ras)
        segment = slicer.vtkSegment()
        segment.SetName(_free(found.name, taken))
        taken.add(segment.GetName())
        segment.SetColor(found.colour)
        segment.SetTag("TextSeg3D.Prompt", found.name)
        if found.terminology:
            # A string of our own for each segment: one entry object used again and again would
            # keep the side of the segment before.
            segment.SetTag(segment.GetTerminologyEntryTagName(), found.terminology)
        segment.AddRepresentation(BINARY, image)
        name = segmentation.GenerateUniqueSegmentID(found.name)
        segmentation.AddSegment(segment, name)
        ids.append(name)
    return ids


def _free(name: str, taken: set[str]) -> str:
    """A name that no segment has yet."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free


def measurements(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per prompt with the keys of :data:`COLUMNS`; None where there is no number."""
    rows = []
    for entry in record["prompts"]:
        largest = entry["instances"][0] if entry["instances"] else {}
        listed = sum(i["volume_ml"] for i in entry["instances"])
        mean = sum(i["mean_hu"] * i["volume_ml"] for i in entry["instances"])
        rows.append(
            {
                "prompt": entry["text"],
                "status": _STATUS.get(entry["status"], entry["status"]),
                "presence": entry["presence"],
                "volume_ml": entry["volume_ml"] if entry["voxels"] else None,
                "instances": len(entry["instances"]) if entry["voxels"] else None,
                "diameter_mm": largest.get("longest_axial_diameter_mm"),
                "mean_hu": round(mean / listed, 1) if listed else None,
                "codes": "; ".join(
                    f"{c['meaning']} ({c['scheme']} {c['value']})" for c in entry["codes"]
                ),
                "warnings": "; ".join(entry["warnings"]),
            }
        )
    return rows


def write_table(node: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows to a table node; numbers that do not exist are NaN."""
    import vtk

    texts = ("prompt", "status", "codes", "warnings")
    if node.GetNumberOfColumns() == 0:
        for key, title in COLUMNS:
            column = vtk.vtkStringArray() if key in texts else vtk.vtkDoubleArray()
            column.SetName(title)
            node.AddColumn(column)
    table = node.GetTable()
    for row in rows:
        index = table.InsertNextBlankRow()
        for key, title in COLUMNS:
            column, value = table.GetColumnByName(title), row[key]
            if key in texts:
                column.SetValue(index, value)
            else:
                column.SetValue(index, float("nan") if value is None else float(value))
    node.Modified()
