"""OpenVINO beside torch on this CPU: time of the network, and how much masks differ from float32.

    python benchmarks/openvino_runtime.py SCAN [PROMPT ...]

needs the extra `openvino`. The first prediction of each runtime prepares it and is not counted.
`ONEDNN_MAX_CPU_ISA=AVX2` (or `AVX2_VNNI`) and `ATEN_CPU_CAPABILITY=avx2` in the environment stand
for a smaller CPU; both then still use bf16 where the CPU has it, so look at fp32 alone.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

from textseg3d import Segmenter
from textseg3d.inference.device import tune_process

RUNS = (
    ("cpu", "fp32"),
    ("cpu", "auto"),
    *((f"openvino:{p}", "auto") for p in ("fp32", "bf16", "int8")),
)
PROMPTS = ["left lung", "right lung", "liver", "heart", "aorta", "bones"]


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """1 for two empty masks."""
    size = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / size if size else 1.0


def main(scan: str, prompts: list[str]) -> None:
    """Print one line per runtime."""
    tune_process()
    whole: list[NDArray[np.bool_]] = []
    for device, precision in RUNS:
        segmenter = Segmenter("ct-nano", device, precision=precision)
        segmenter.predict(scan, prompts)
        begin = time.process_time()
        found = segmenter.predict(scan, prompts)
        spent = time.process_time() - begin
        masks = [np.asarray(found[text].array, bool) for text in prompts]
        whole = whole or masks
        same = [dice(a, b) for a, b in zip(whole, masks)]
        print(
            f"{segmenter.device:22} network {found.seconds['network']:6.2f} s, processor time of "
            f"all {spent:6.2f} s, Dice with float32 {np.mean(same):.4f}, lowest {min(same):.4f}"
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or PROMPTS)
