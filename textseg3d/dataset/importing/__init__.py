"""Datasets of other layouts become folders in nnU-Net's layout, case by case and resumable."""

from textseg3d.dataset.importing.cvpr2025 import import_cvpr2025
from textseg3d.dataset.importing.decathlon import import_decathlon
from textseg3d.dataset.importing.rexgroundingct import import_rexgroundingct
from textseg3d.dataset.importing.sat import import_sat

__all__ = ["import_cvpr2025", "import_decathlon", "import_rexgroundingct", "import_sat"]
