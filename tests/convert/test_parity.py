"""Converted models against nnunetv2's own predictor, on models that nnunetv2 itself builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.convert.nnunet_factory import REGIONS, make_nnunet, write_scan
from textseg3d.convert import convert_nnunet

pytest.importorskip("nnunetv2")

Z_SCORES = {"schemes": ("ZScoreNormalization", "RescaleTo01Normalization"), "masks": (True, False)}
MODELS: dict[str, dict[str, Any]] = {
    "plain": {"patch": (32, 16, 24)},  # longer than the scan along one axis
    "residual": {"kind": "ResidualEncoderUNet"},
    "anisotropic": {"spacing": (7.5, 1.5, 1.4), "patch": (8, 16, 16), "thin": True},
    "transposed": {"spacing": (1.9, 2.2, 1.5), "transpose": (2, 0, 1)},
    "two channels": {**Z_SCORES},
    "regions": {"labels": REGIONS},
    "three folds, mirrored": {"folds": 3, "kind": "ResidualEncoderUNet"},
}
THICK = (1.6, 1.5, 6.2)


def reference(folder: Path, scans: list[Path], mirror: bool) -> tuple[np.ndarray, np.ndarray]:
    """nnunetv2's logits on its grid and label map in its axes (z, y, x)."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=mirror, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), None)
    image, properties = predictor.plans_manager.image_reader_writer_class().read_images(scans)
    kept, logits_of = [], predictor.predict_logits_from_preprocessed_data

    def keeping(data: torch.Tensor) -> torch.Tensor:
        kept.append(logits_of(data))
        return kept[0].clone()

    predictor.predict_logits_from_preprocessed_data = keeping
    labels = predictor.predict_single_npy_array(image, properties)
    return kept[0].float().numpy(), labels


@pytest.mark.parametrize("name", MODELS)
def test_logits_and_labels_equal_nnunetv2(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from textseg3d.inference.closed.engine import ClosedEngine, load_closed
    from textseg3d.inference.closed.labels import label_scan
    from textseg3d.inference.device import choose_runtime
    from textseg3d.inference.progress import Progress
    from textseg3d.io import Volume, read_volume

    mirror = "mirrored" in name
    options = MODELS[name]
    source = make_nnunet(tmp_path / "source", **options)
    channels = len(options.get("schemes", "1"))
    more = {"spacing": THICK, "shape": (34, 30, 13)} if name == "anisotropic" else {}
    scans = write_scan(tmp_path / "scan", channels=channels, **more)
    monkeypatch.setattr(torch, "half", torch.float32)  # its sums; half precision is its noise
    logits, labels = reference(source, scans, mirror)

    model = convert_nnunet(source, tmp_path / "model", mirror=mirror)
    engine = ClosedEngine(load_closed(model), choose_runtime("cpu", "fp32"))
    volumes = [read_volume(path) for path in scans]
    volume = volumes[0]
    if channels > 1:
        array = np.concatenate([v.array for v in volumes])
        volume = Volume(array, volume.spacing_mm, volume.origin_mm, volume.direction, volume.source)
    image = engine.prepare(volume, exact=True)
    planes = list(engine.planes(image, Progress(None)))
    ours = torch.stack(planes, dim=1).numpy()
    assert ours.shape == logits.shape
    assert np.abs(ours - logits).max() < 1e-3

    found = label_scan(planes, engine.configuration, image)
    in_file_order = volume.to_source(found.values).transpose(2, 1, 0)
    agreement = (in_file_order == labels).mean()
    assert agreement >= 0.9999
    assert len(np.unique(labels)) >= 3  # the comparison is about something
