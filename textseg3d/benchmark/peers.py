"""Tasks that run other projects' predictors on the same weights, from a file to masks on disk."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from textseg3d.errors import MissingDependencyError


def nnunetv2(request: dict[str, Any]) -> dict[str, Any]:
    """nnunetv2's predictor with its defaults, mirroring off, in this process alone.

    Its own command starts processes besides, which need more memory.

    Args:
        request: ``source`` (results folder), ``scan``, ``output`` (folder), ``device``.

    Raises:
        MissingDependencyError: without nnunetv2.
    """
    import torch

    try:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    except ImportError as error:
        raise MissingDependencyError(
            f"nnunetv2 is not installed ({error}); pip install 'textseg3d[bench]'"
        ) from None
    device = _torch_device(request["device"])
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(os.cpu_count() or 1)  # as its command does
    predictor = nnUNetPredictor(use_mirroring=False, device=device, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(request["source"], (0,))
    target = Path(request["output"]) / "nnunetv2"
    target.parent.mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files_sequential([[request["scan"]]], [str(target)])
    return {"labels": f"{target}.nii.gz"}


def monai(request: dict[str, Any]) -> dict[str, Any]:
    """MONAI's SlidingWindowInferer between its resampling in and the inverse of it.

    Args:
        request: ``model`` (converted folder), ``scan``, ``output`` (folder), ``device``,
            ``overlap``.

    Raises:
        MissingDependencyError: without MONAI.
    """
    import torch

    try:
        from monai import transforms
        from monai.data import decollate_batch, list_data_collate
        from monai.inferers import SlidingWindowInferer
    except ImportError as error:
        raise MissingDependencyError(
            f"MONAI is not installed ({error}); pip install 'textseg3d[bench]'"
        ) from None
    from textseg3d.inference.closed.engine import load_closed

    loaded = load_closed(Path(request["model"]))
    spec, device = loaded.spec, _torch_device(request["device"])
    network = loaded.networks[0].to(device)
    channel = spec.channels[0]
    before = transforms.Compose(
        [
            transforms.LoadImaged("image"),
            transforms.EnsureChannelFirstd("image"),
            transforms.Spacingd("image", pixdim=spec.spacing[::-1], mode="bilinear"),
            transforms.ThresholdIntensityd("image", channel.low, above=True, cval=channel.low),
            transforms.ThresholdIntensityd("image", channel.high, above=False, cval=channel.high),
            transforms.NormalizeIntensityd(
                "image", subtrahend=torch.tensor(channel.mean), divisor=torch.tensor(channel.std)
            ),
        ]
    )
    after = transforms.Compose(
        [
            transforms.Invertd("pred", before, orig_keys="image", nearest_interp=False),
            transforms.AsDiscreted("pred", argmax=True),
            transforms.SaveImaged(
                "pred",
                output_dir=request["output"],
                output_postfix="monai",
                separate_folder=False,
                savepath_in_metadict=True,
            ),
        ]
    )
    inferer = SlidingWindowInferer(
        spec.patch_size[::-1], overlap=request["overlap"], mode="gaussian"
    )
    start = time.monotonic()
    with torch.inference_mode():
        batch = list_data_collate([before({"image": request["scan"]})])
        # The network's axes are (z, y, x); MONAI's are those of the file.
        batch["pred"] = inferer(
            batch["image"].to(device),
            lambda x: network(x.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2),
        )
        network_seconds = time.monotonic() - start
        done = [after(item) for item in decollate_batch(batch)]
    return {
        "labels": str(done[0]["pred"].meta["saved_to"]),
        "network_seconds": network_seconds,
    }


def _torch_device(name: str) -> Any:
    from textseg3d.inference.device import choose_runtime

    return choose_runtime(name, "fp32").device
