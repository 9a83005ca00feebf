"""VoxTell's network: its package and ours on the same random weights, one window.

    python benchmarks/voxtell_network.py           # window of 96³, full widths, 1 and 5 prompts
    python benchmarks/voxtell_network.py --write   # also rewrites the table of the docs page

Every number comes from a process of its own. A window of 192³ has eight times the voxels of one
of 96³; work and activations of a convolutional network grow with the voxels, so seconds and the
memory above the loaded network are multiplied by eight for the last columns. (The text decoder's
part does not grow so; it is a few per cent.)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "public_weights.md"
FEATURES = (32, 64, 128, 256, 320, 320)
BLOCKS = (1, 3, 4, 6, 6, 6)
QUERY, HIDDEN, TEXT, HEADS = 2048, 2048, 2560, 32
FULL = 192


def main() -> int:
    """Parse the command line; run one side, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patch", type=int, default=96, help="a multiple of 32")
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--note", default="", help="said below the table")
    parser.add_argument("--write", action="store_true", help="rewrite the table of the page")
    parser.add_argument("--side", choices=("package", "ours"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "kernels")]
    if args.side:
        print(json.dumps(child(args.side, args.patch, args.prompts[0], args.threads)))
        return 0
    factor = (FULL / args.patch) ** 3
    lines = [
        f"| prompts | VoxTell, {args.patch}³ | ours, {args.patch}³ | logits differ by | "
        f"VoxTell, {FULL}³ (×{factor:g}) | ours, {FULL}³ (×{factor:g}) |",
        "|---|---|---|---|---|---|",
    ]
    for prompts in args.prompts:
        found = [run(side, args.patch, prompts, args.threads) for side in ("package", "ours")]
        cells = [f"{s['seconds']:.1f} s, {s['peak'] - s['base']:.2f} GiB" for s in found]
        large = [
            f"{s['seconds'] * factor:.0f} s, {(s['peak'] - s['base']) * factor:.0f} GiB"
            for s in found
        ]
        gap = max(abs(a - b) for a, b in zip(found[0]["sample"], found[1]["sample"]))
        lines.append(
            f"| {prompts} | {cells[0]} | {cells[1]} | {gap:.0e} | {large[0]} | {large[1]} |"
        )
        print(lines[-1], flush=True)
    import torch

    text = "\n".join(lines) + (
        f"\n\n{date.today()}, {args.threads} threads of {platform.machine()}, torch "
        f"{torch.__version__}, float32; memory above the loaded network; the difference is that "
        f"of sampled logits{'; ' + args.note if args.note else ''}."
    )
    print(text)
    if args.write:
        page = PAGE.read_text(encoding="utf-8")
        first, last = "<!-- voxtell table -->\n", "<!-- end of voxtell table -->"
        head, _, rest = page.partition(first)
        _, _, tail = rest.partition(last)
        PAGE.write_text(head + first + text + "\n" + last + tail, encoding="utf-8")
    return 0


def run(side: str, patch: int, prompts: int, threads: int) -> dict[str, Any]:
    """One side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--patch", str(patch)]
    command += ["--prompts", str(prompts), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{side}: {done.stderr.strip()[-400:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(side: str, patch: int, prompts: int, threads: int) -> dict[str, Any]:
    """Seconds, memory and sampled logits of one forward pass."""
    import torch

    torch.set_num_threads(threads)
    network = package(patch) if side == "package" else ours(patch)
    generator = torch.Generator().manual_seed(1)
    fill(network, generator)
    if side == "ours":
        from textseg3d.inference.closed.network import speed_up

        speed_up(network)  # layers that the engine exchanges
    image = torch.randn((1, 1, patch, patch, patch), generator=generator)
    texts = torch.randn((1, prompts, TEXT), generator=generator)
    base = status("VmRSS")
    start = time.perf_counter()
    with torch.inference_mode():
        if side == "package":
            logits = network(image, texts)[0]
        else:
            shared = network.encode_image(image)
            queries = network.queries(shared, texts[0])
            logits = torch.cat(
                [network.decode(shared, [q[i : i + 1] for q in queries]) for i in range(prompts)]
            )
    seconds = time.perf_counter() - start
    sample = logits.flatten()[:: max(1, logits.numel() // 5000)].tolist()
    return {"seconds": seconds, "base": base, "peak": status("VmHWM"), "sample": sample}


def fill(network: Any, generator: Any) -> None:
    """The same random weights by name on both sides."""
    import zlib

    import torch

    with torch.no_grad():
        for name, tensor in sorted(network.state_dict(keep_vars=True).items()):
            if name.startswith("decoder.encoder.") or ".all_modules." in name:
                continue  # the same tensors under other names
            if not tensor.is_floating_point() or name == "pos_embed":
                continue
            generator.manual_seed(zlib.crc32(name.encode()))
            scale = 0.02 if tensor.ndim > 1 else 0.1
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
        generator.manual_seed(1)
        network.pos_embed.copy_(torch.randn(network.pos_embed.shape, generator=generator) * 0.1)


def package(patch: int) -> Any:
    """VoxTell's own network, its table of sizes for this patch."""
    from torch import nn
    from voxtell.model import voxtell_model

    class Sized(voxtell_model.VoxTellModel):
        DECODER_CONFIGS = {  # noqa: RUF012
            stage: {"channels": c, "shape": (patch >> stage,) * 3}
            for stage, c in enumerate(FEATURES)
        }

    return Sized(
        input_channels=1, n_stages=6, features_per_stage=FEATURES, conv_op=nn.Conv3d,
        kernel_sizes=3, strides=(1, 2, 2, 2, 2, 2), n_blocks_per_stage=BLOCKS,
        n_conv_per_stage_decoder=1, conv_bias=True, norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True}, decoder_layer=4, text_embedding_dim=TEXT,
        num_maskformer_stages=5, num_heads=HEADS, query_dim=QUERY,
        project_to_decoder_hidden_dim=HIDDEN,
    ).eval()  # fmt: skip


def ours(patch: int) -> Any:
    """Our network of the same sizes."""
    from textseg3d.inference.closed.spec import Architecture
    from textseg3d.inference.open.spec import OpenSpec, TextModel
    from textseg3d.inference.open.voxtell import VoxTell

    design = Architecture(
        "ResidualEncoderUNet", FEATURES, ((3, 3, 3),) * 6, ((1, 1, 1),) + ((2, 2, 2),) * 5,
        BLOCKS, (1,) * 5,
    )  # fmt: skip
    spec = OpenSpec(
        "voxtell", "random", design, (patch,) * 3, TextModel(TEXT), QUERY, HIDDEN, heads=HEADS
    )
    return VoxTell(spec).eval()


def status(field: str) -> float:
    """A field of this process's status, in GiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 2**20
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
