"""nnU-Nets with random weights: nnunetv2's predictor and ours, side by side.

    python benchmarks/nnunet_models.py            # small, about two minutes on an idle core
    python benchmarks/nnunet_models.py --full 20  # 512×512×300, patch 128³, 20 classes: an hour
    python benchmarks/nnunet_models.py --write    # also rewrites the table of the docs page

Every number comes from a process of its own: seconds from the file to the label map in memory,
and that process's peak memory, imports included. The reference for agreement and logits is
nnunetv2 with its sums in float32 (as shipped, it sums in half precision).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "public_weights.md"
SIDES = ("nnunetv2", "exact", "default")
Z_SCORES = {"schemes": ["ZScoreNormalization", "RescaleTo01Normalization"], "masks": [True, False]}
PATCH: dict[str, Any] = {"patch": [48, 48, 48], "features": [32, 48, 64]}
SMALL: dict[str, dict[str, Any]] = {
    "plain": {},
    "residual": {"kind": "ResidualEncoderUNet"},
    "anisotropic": {"spacing": [7.5, 1.5, 1.4], "patch": [16, 48, 48], "thin": True},
    "two channels": Z_SCORES,
    "regions": {"labels": "regions"},
    "three folds": {"folds": 3},
    "20 classes": {"labels": 20},
    "100 classes": {"labels": 100},
}
THICK = [1.6, 1.5, 6.2]


def main() -> int:
    """Parse the command line; run one side of one model, or everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", type=int, metavar="CLASSES", help="one clinical size instead")
    parser.add_argument("--models", nargs="+", choices=list(SMALL), default=list(SMALL))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--note", default="", help="said below the table, such as 'shared machine'")
    parser.add_argument("--write", action="store_true", help="rewrite the table of the page")
    parser.add_argument("--side", choices=(*SIDES, "reference", "make"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "kernels")]
    if args.side:
        print(json.dumps(child(args.side, args.folder, args.threads)))
        return 0
    jobs = {f"{args.full} classes, 512×512×300": full(args.full)} if args.full else {
        name: {**PATCH, **SMALL[name]} for name in args.models
    }  # fmt: skip
    rows = []
    for name, options in jobs.items():
        with tempfile.TemporaryDirectory() as folder:
            rows.append((name, measure(Path(folder), options, args.threads)))
            print("\n".join(table(rows[-1:])[-1:]), flush=True)
    text = "\n".join(table(rows)) + "\n\n" + conditions(args.threads, args.note, bool(args.full))
    print(text)
    if args.write:
        write(text, "full" if args.full else "small")
    return 0


def full(classes: int) -> dict[str, Any]:
    """The clinical size: nnU-Net's usual network on a CT of the torso."""
    return {
        "labels": classes,
        "patch": [128, 128, 128],
        "spacing": [1.5, 1.5, 1.5],
        "features": [32, 64, 128, 256, 320, 320],
        "shape": [512, 512, 300],
        "scan_spacing": [0.8, 0.8, 1.5],
    }


def measure(folder: Path, options: dict[str, Any], threads: int) -> dict[str, Any]:
    """Numbers of all sides of one model."""
    (folder / "options.json").write_text(json.dumps(options))
    sides = ["make", *([] if "shape" in options else ["reference"]), *SIDES]
    found = {}
    for side in sides:
        command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
        done = subprocess.run(
            [*command, "--threads", str(threads)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            print(f"{side}: {last[0]}", file=sys.stderr)
            found[side] = {"seconds": None}
        else:
            found[side] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(rows: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """The rows in Markdown."""
    lines = [
        "| model | labels equal | logits differ by | nnunetv2 | ours, `--exact` | ours, default | "
        "default equals |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows:
        cells = [cost(row[side]) for side in SIDES]
        exact, quick = row["exact"], row["default"]
        lines.append(
            f"| {name} | {share(exact)} | {number(exact)} | {' | '.join(cells)} | {share(quick)} |"
        )
    return lines


def cost(side: dict[str, Any]) -> str:
    """Seconds and memory of a side."""
    if side["seconds"] is None:
        return "did not finish"
    return f"{side['seconds']:.1f} s, {side['peak_mib'] / 1024:.2f} GiB"


def share(side: dict[str, Any]) -> str:
    """Agreement in percent."""
    return f"{side['agreement'] * 100:.4f} %" if side.get("agreement") is not None else "–"


def number(side: dict[str, Any]) -> str:
    """Largest difference of logits."""
    return f"{side['logits']:.0e}" if side.get("logits") is not None else "–"


def conditions(threads: int, note: str, clinical: bool) -> str:
    """When, where and with what."""
    import nnunetv2
    import torch

    versions = f"torch {torch.__version__}, nnunetv2 {getattr(nnunetv2, '__version__', '')}".strip()
    against = "nnunetv2 as shipped" if clinical else "nnunetv2 with float32 sums"
    return (
        f"{date.today()}, {threads} threads of {platform.machine()}, {versions}; "
        f"agreement with {against}{'; ' + note if note else ''}."
    )


def write(text: str, which: str) -> None:
    """Put the table between its marks on the page."""
    page = PAGE.read_text(encoding="utf-8")
    first, last = f"<!-- {which} table -->\n", f"<!-- end of {which} table -->"
    head, _, rest = page.partition(first)
    _, _, tail = rest.partition(last)
    PAGE.write_text(head + first + text + "\n" + last + tail, encoding="utf-8")


def child(side: str, folder: Path, threads: int) -> dict[str, Any]:
    """One side of one model, in this process."""
    import torch

    torch.set_num_threads(threads)
    options = json.loads((folder / "options.json").read_text())
    if side == "make":
        return make(folder, options)
    scans = sorted((folder / "scan").glob("*.nii.gz"))
    if side in ("nnunetv2", "reference"):
        return nnunetv2_side(side, folder, scans)
    return our_side(side, folder, scans[0])


def make(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Model, scan and converted model."""
    from tests.convert.nnunet_factory import REGIONS, make_nnunet, write_scan
    from textseg3d.convert import convert_nnunet

    shape, spacing = options.pop("shape", [110, 100, 90]), options.pop("scan_spacing", None)
    thick = options.get("thin", False)
    if isinstance(options.get("labels"), int):
        names = [f"structure {number}" for number in range(1, options["labels"] + 1)]
        options["labels"] = {n: i for i, n in enumerate(["background", *names])}
    elif options.get("labels") == "regions":
        options["labels"] = REGIONS
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    make_nnunet(folder / "source", **options)
    channels = len(options.get("schemes", "1"))
    write_scan(
        folder / "scan",
        channels=channels,
        shape=(110, 100, 26) if thick else tuple(shape),
        spacing=tuple(spacing or (THICK if thick else [1.7, 1.6, 2.3])),
    )
    convert_nnunet(folder / "source", folder / "model")
    return {"seconds": 0}


def nnunetv2_side(side: str, folder: Path, scans: list[Path]) -> dict[str, Any]:
    """nnunetv2's predictor without mirroring; ``reference`` sums in float32."""
    import torch

    if side == "reference":
        torch.half = torch.float32
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder / "source"), None)
    start = time.perf_counter()
    reader = predictor.plans_manager.image_reader_writer_class()
    image, properties = reader.read_images([str(scan) for scan in scans])
    labels = predictor.predict_single_npy_array(image, properties)
    result = {"seconds": time.perf_counter() - start, "peak_mib": peak_mib()}
    if side == "reference" or not (folder / "labels.npy").exists():
        np.save(folder / "labels.npy", labels)
    if side == "reference":
        preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
        data, _, _ = preprocessor.run_case_npy(
            image, None, dict(properties), predictor.plans_manager,
            predictor.configuration_manager, predictor.dataset_json,
        )  # fmt: skip
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
        np.save(folder / "logits.npy", logits.float().numpy())
    return result


def our_side(side: str, folder: Path, scan: Path) -> dict[str, Any]:
    """Our engine on the converted model."""
    import torch

    from textseg3d.inference.closed.channels import complete_channels
    from textseg3d.inference.closed.engine import ClosedEngine, load_closed
    from textseg3d.inference.device import choose_runtime
    from textseg3d.inference.progress import Progress
    from textseg3d.io import read_volume

    exact = side == "exact"
    engine = ClosedEngine(load_closed(folder / "model"), choose_runtime("cpu"))
    start = time.perf_counter()
    volume = complete_channels(read_volume(scan), len(engine.configuration.channels))
    image = engine.prepare(volume, exact=exact)
    run = next(engine.windows(image, Progress(None)))
    values = run.label_map().values
    labels = volume.to_source(values).transpose(2, 1, 0)
    result = {"seconds": time.perf_counter() - start, "peak_mib": peak_mib()}
    if (folder / "labels.npy").exists():
        result["agreement"] = float((labels == np.load(folder / "labels.npy")).mean())
    if exact and (folder / "logits.npy").exists():
        planes = list(engine.planes(image, Progress(None)))
        expected = np.load(folder / "logits.npy")
        result["logits"] = float(np.abs(torch.stack(planes, dim=1).numpy() - expected).max())
    return result


def peak_mib() -> float:
    """Largest memory of this process so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
