"""Scans in, masks out: strict readers, the canonical `Volume`, and writers on the scan's grid."""

from textseg3d.io.atomic import atomic_path
from textseg3d.io.findings import Finding
from textseg3d.io.options import DEFAULT_MAX_VOXELS, ReadOptions
from textseg3d.io.reader import check_scan, read_volume
from textseg3d.io.volume import SourceGrid, Volume, volume_from_array
from textseg3d.io.writer import write_volume_like

__all__ = [
    "DEFAULT_MAX_VOXELS",
    "Finding",
    "ReadOptions",
    "SourceGrid",
    "Volume",
    "atomic_path",
    "check_scan",
    "read_volume",
    "volume_from_array",
    "write_volume_like",
]
