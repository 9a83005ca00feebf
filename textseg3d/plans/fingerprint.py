"""`dataset_fingerprint.json`: what planning needs to know of a dataset, with nnU-Net's keys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from textseg3d.errors import PlansError
from textseg3d.io.atomic import atomic_path
from textseg3d.plans.jsonio import from_json, to_json

FILE_NAME = "dataset_fingerprint.json"
STATISTICS = ("mean", "median", "std", "min", "max", "percentile_99_5", "percentile_00_5")


@dataclass(frozen=True)
class Fingerprint:
    """Facts about all cases. The first four are nnU-Net's, and all that its planner reads.

    Attributes:
        spacings: mm, (z, y, x) per case.
        shapes_after_crop: voxels (z, y, x) per case, without the border of zeros.
        foreground_intensity_properties_per_channel: channel ("0", "1" …) → statistic → value.
        median_relative_size_after_cropping: of the number of voxels.
        cases: names, in the order of ``spacings``.
        foreground_voxels: label → voxels per case, in the order of ``cases``.
        sides_present: label → {"left": n, "right": n}, the number of cases of which at least a
            twentieth of the label lies in that half of the scan.
    """

    spacings: tuple[tuple[float, float, float], ...]
    shapes_after_crop: tuple[tuple[int, int, int], ...]
    foreground_intensity_properties_per_channel: dict[str, dict[str, float]]
    median_relative_size_after_cropping: float
    cases: tuple[str, ...] = ()
    foreground_voxels: dict[str, tuple[int, ...]] | None = None
    sides_present: dict[str, dict[str, int]] | None = None

    def __post_init__(self) -> None:
        """Check that there is one spacing per shape, and at least one."""
        if not self.spacings or len(self.spacings) != len(self.shapes_after_crop):
            raise PlansError(
                f"a fingerprint with {len(self.spacings)} spacings and "
                f"{len(self.shapes_after_crop)} shapes; make it again with --clean"
            )

    @classmethod
    def load(cls, path: Path) -> Fingerprint:
        """Read a file of ours or of nnU-Net's.

        Raises:
            PlansError: if it is missing or damaged.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PlansError(f"{path}: cannot be read as JSON ({error})") from None
        return from_json(cls, data, f"{path}: ")

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(to_json(self), indent=1) + "\n", encoding="utf-8")
