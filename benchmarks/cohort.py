"""Cases per hour of `textseg3d predict` on this machine, and what 100,000 scans would take.

    python benchmarks/cohort.py --write docs/scale.md

measures and replaces the part of the page between its markers. Nothing else should run on the
machine; the load that was there is printed. `--quick` leaves out scans of clinical size.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import zoom

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "chest_ct.nii.gz"
PROMPTS = (
    "left lung", "right lung", "heart", "liver", "spleen", "aorta", "left kidney", "right kidney",
    "stomach", "bones",
)  # fmt: skip
CLINICAL = (512, 512, 400)
START, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Row:
    """One run. Bytes and seconds are per case; ``rate`` is per hour, without the first commits."""

    scans: str
    executor: str
    workers: int
    cases: int
    rate: float
    cpu_seconds: float
    peak_mb: float
    input_bytes: float
    output_bytes: float
    output_files: float


def clinical_scan(path: Path) -> None:
    """The example on a grid of clinical size, with noise of 15 HU so that gzip finds little."""
    image = nib.load(EXAMPLE)
    array = np.asarray(image.dataobj, dtype=np.float32)
    factors = [n / m for n, m in zip(CLINICAL, array.shape)]
    large = zoom(array, factors, order=1)
    noise = np.random.default_rng(0).normal(0, 15, large.shape[:2]).astype(np.float32)
    for index in range(large.shape[2]):  # the same noise, rolled, is different noise for gzip
        large[:, :, index] += np.roll(noise, (index * 37, index * 11), (0, 1))
    affine = image.affine.copy()
    affine[:3, :3] = affine[:3, :3] / factors
    nib.save(nib.Nifti1Image(large.round().astype(np.int16), affine), path)


def copies(source: Path, folder: Path, count: int) -> None:
    """So many files with the same content; no case knows of another, so nothing is shared."""
    folder.mkdir()
    for number in range(count):
        shutil.copy(source, folder / f"case{number:03d}.nii.gz")


def run(name: str, folder: Path, out: Path, executor: str, workers: int) -> Row:
    """Run one cohort.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    command = [sys.executable, "-m", "textseg3d", "predict", "--quiet", "-i", str(folder), "-p"]
    command += [*PROMPTS, "-o", str(out), "--summary", "--executor", executor]
    command += [] if executor == "serial" else ["--workers", str(workers)]
    search = os.pathsep.join((str(ROOT), str(ROOT / "kernels")))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": search}
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    scans = sorted(folder.iterdir())
    records = [out / f"{scan.name.removesuffix('.nii.gz')}.json" for scan in scans]
    commits = sorted(path.stat().st_mtime for path in records)
    steady = commits[-1] - commits[workers - 1]
    files = [p for p in out.iterdir() if p.name.startswith("case")]
    return Row(
        scans=name,
        executor=executor,
        workers=workers,
        cases=len(scans),
        rate=3600 * (len(scans) - workers) / steady,
        cpu_seconds=float("nan") if executor == "ray" else cpu / len(scans),
        peak_mb=max(json.loads(p.read_text())["peak_rss_mb"] or 0 for p in records),
        input_bytes=scans[0].stat().st_size,
        output_bytes=sum(p.stat().st_size for p in files) / len(scans),
        output_files=len(files) / len(scans),
    )


def measure(*, quick: bool, cases: int) -> Iterator[Row]:
    """All runs."""
    cores = len(os.sched_getaffinity(0))
    executors = [("serial", 1)]
    if not quick:
        executors += [("local", cores)] if cores > 1 else []
        executors += [("ray", cores)] if importlib.util.find_spec("ray") else []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        kinds = [("example, 140×100×115", EXAMPLE, cases)]
        if not quick:
            clinical_scan(work / "clinical.nii.gz")
            shape = "×".join(map(str, CLINICAL))
            kinds.append(
                (f"clinical, {shape}", work / "clinical.nii.gz", max(2 * cores, cases // 3))
            )
        for number, (kind, source, count) in enumerate(kinds):
            folder = work / f"scans{number}"
            copies(source, folder, count)
            for executor, workers in executors:
                out = work / f"out{number}-{executor}"
                yield run(kind, folder, out, executor, workers)
                shutil.rmtree(out)


def table(rows: list[Row]) -> str:
    """The measured rows as Markdown."""
    lines = [
        "| scans | executor | workers | cases | cases per hour | processor s per case | peak MB | "
        "read MB per case | written KB per case | files per case |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cpu = "not known" if np.isnan(row.cpu_seconds) else f"{row.cpu_seconds:.1f}"
        lines.append(
            f"| {row.scans} | {row.executor} | {row.workers} | {row.cases} | {row.rate:.0f} | "
            f"{cpu} | {row.peak_mb:.0f} | {row.input_bytes / 1e6:.1f} | "
            f"{row.output_bytes / 1e3:.0f} | "
            f"{row.output_files:.0f} |"
        )
    return "\n".join(lines)


def plan(row: Row, args: argparse.Namespace) -> str:
    """The arithmetic for many scans like those of ``row``."""
    n, cores, node = args.scans, args.cores, args.cores_per_node
    seconds, price = row.cpu_seconds, args.core_price
    hours = n * seconds / 3600
    wall = hours / cores
    lost_nodes = args.interruptions * wall * cores / node
    again = seconds / 2 + args.start_seconds
    lost = lost_nodes * node * again / 3600
    read, written = n * row.input_bytes, n * row.output_bytes
    feed = 8 * read / 1e9 / (wall * 3600)
    lines = [
        (
            "read (decoded and hashed; the second time from the page cache)",
            f"{n:,} × {row.input_bytes / 1e6:.1f} MB",
            f"{read / 1e12:.2f} TB",
        ),
        ("written", f"{n:,} × {row.output_bytes / 1e3:.0f} KB", f"{written / 1e9:.1f} GB"),
        ("files", f"{n:,} × {row.output_files:.0f}", f"{n * row.output_files:,.0f}"),
        ("processor time", f"{n:,} × {seconds:.1f} s / 3600", f"{hours:,.0f} core-hours"),
        (f"wall time on {cores} cores", f"{hours:,.0f} / {cores}", f"{wall:,.1f} h"),
        ("network to feed them", f"{read / 1e12:.2f} TB / {wall:,.1f} h", f"{feed:.2f} Gbit/s"),
        (
            "nodes lost",
            f"{args.interruptions:g} per node-hour × {wall:,.1f} h × {cores / node:g} nodes",
            f"{lost_nodes:,.1f}",
        ),
        (
            "work lost with them",
            f"{lost_nodes:,.1f} × {node} cores × ({seconds:.1f} s / 2 + {args.start_seconds:g} s)",
            f"{lost:,.2f} core-hours",
        ),
        ("scans without a result, each with its reason", f"{n:,} × {args.bad:g}",
         f"{n * args.bad:,.0f}"),
        ("computing", f"({hours:,.0f} + {lost:,.2f}) core-hours × {price:g}",
         f"{(hours + lost) * price:,.0f}"),
        ("storing the results", f"{written / 1e9:.1f} GB × {args.storage_price:g} per GB and month",
         f"{written / 1e9 * args.storage_price:,.2f} a month"),
    ]  # fmt: skip
    return "\n".join(
        [
            f'For {n:,} scans like those of the row "{row.scans}, {row.executor}":',
            "",
            "| what | arithmetic | result |",
            "|---|---|---|",
            *("| " + " | ".join(line) + " |" for line in lines),
            "",
            f"Assumed, not measured: nodes of {node} cores; {args.interruptions:g} lost nodes per "
            f"node-hour, {args.start_seconds:g} s to start again; {args.bad:g} of the scans bad; "
            f"{price:g} per core-hour and {args.storage_price:g} per GB and month, in your "
            "currency. Each has an option of the script.",
        ]
    )


def main() -> None:
    """Measure, print, and write the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="page with the two markers")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--scans", type=int, default=100_000)
    parser.add_argument("--cores", type=int, default=256)
    parser.add_argument("--cores-per-node", type=int, default=16)
    parser.add_argument("--interruptions", type=float, default=0.05)
    parser.add_argument("--start-seconds", type=float, default=10.0)
    parser.add_argument("--bad", type=float, default=0.01)
    parser.add_argument("--core-price", type=float, default=0.04)
    parser.add_argument("--storage-price", type=float, default=0.02)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    begun = time.perf_counter()
    rows = []
    for row in measure(quick=args.quick, cases=args.cases):
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    basis = [row for row in rows if row.executor == "serial"][-1]
    option = " --quick" if args.quick else ""
    busy = "shared with other work" if load > 0.5 else "idle before"
    text = (
        f"Measured on {datetime.date.today()} by `python benchmarks/cohort.py{option} --write "
        f"docs/scale.md` in {time.perf_counter() - begun:.0f} s: {os.cpu_count()} cores "
        f"({platform.machine()}), load {load:.1f} at the start ({busy}), model ct-nano, "
        f"{len(PROMPTS)} prompts, `--summary`, OMP_NUM_THREADS "
        f"{os.environ.get('OMP_NUM_THREADS', 'not set')}. Cases per hour leave out the start of "
        "the workers; processor time includes it.\n\n"
        f"{table(rows)}\n\n{plan(basis, args)}"
    )
    print(text)
    if args.write:
        page = args.write.read_text(encoding="utf-8")
        before, _, rest = page.partition(START)
        after = rest.partition(END)[2]
        args.write.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
