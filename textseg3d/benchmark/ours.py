"""Tasks that time this package: cold predictions, one prompt against many, set images."""

from __future__ import annotations

import time
from typing import Any

from textseg3d.benchmark.measure import median


def segment(request: dict[str, Any]) -> dict[str, Any]:
    """What `textseg3d predict` does, with the seconds of each stage.

    Args:
        request: ``model``, ``scan``, ``prompts``, ``output`` (None leaves the masks in memory),
            ``device``, ``exact``, ``started`` (:func:`time.monotonic` when the process was
            started).
    """
    from textseg3d.api import Segmenter
    from textseg3d.export.record import read_record
    from textseg3d.inference.device import tune_process

    tune_process()
    imported = time.monotonic()
    segmenter = Segmenter(request["model"], device=request["device"])
    loaded = time.monotonic()
    prediction = segmenter.predict(request["scan"], request["prompts"], exact=request["exact"])
    seconds = {"start and imports": imported - request["started"], "load model": loaded - imported}
    if request["output"] is None:
        return {"seconds": {**seconds, **prediction.seconds}}
    paths = prediction.save(request["output"])
    record = read_record(paths[-1]) or {}
    return {
        "seconds": {**seconds, **record["seconds"]},
        "windows_run": prediction.windows_run,
        "windows_total": prediction.windows_total,
        "device": segmenter.device,
        "files": {
            entry["text"]: str(paths[-1].parent / entry["mask"])
            for entry in record["prompts"]
            if entry["mask"]
        },
        "found": sum(entry["status"] == "ok" for entry in record["prompts"]),
    }


def prompt_counts(request: dict[str, Any]) -> dict[str, Any]:
    """Seconds from a file to masks in memory, for the first n prompts of a list.

    Besides, seconds of measuring the instances, which who wants masks alone does not wait for.

    Args:
        request: ``model``, ``scan``, ``prompts``, ``counts``, ``repeats``, ``device``.
    """
    from textseg3d.inference.device import tune_process
    from textseg3d.inference.parallel import in_order, workers
    from textseg3d.inference.segmenter import Segmenter

    tune_process()
    segmenter = Segmenter(request["model"], device=request["device"])
    segmenter.predict(request["scan"], request["prompts"][:1])  # warm
    times: dict[int, list[float]] = {int(n): [] for n in request["counts"]}
    stages: dict[int, dict[str, float]] = {}
    measured: dict[int, float] = {}
    for _ in range(request["repeats"]):
        for count, found in times.items():
            start = time.monotonic()
            prediction = segmenter.predict(request["scan"], request["prompts"][:count])
            found.append(time.monotonic() - start)
            stages[count] = dict(prediction.seconds)
            start = time.monotonic()
            list(in_order(lambda r: len(r.instances), list(prediction.values()), workers()))
            measured[count] = time.monotonic() - start
    return {
        "seconds": {str(count): median(found) for count, found in times.items()},
        "stages": {str(count): found for count, found in stages.items()},
        "instances": {str(count): spent for count, spent in measured.items()},
        "device": segmenter.device,
    }


def session(request: dict[str, Any]) -> dict[str, Any]:
    """Seconds to set an image, and of single prompts on it.

    Args:
        request: ``model``, ``scan``, ``prompts``, ``repeats``, ``device``.
    """
    from textseg3d.inference.device import tune_process
    from textseg3d.inference.segmenter import Segmenter

    tune_process()
    segmenter = Segmenter(request["model"], device=request["device"])
    start = time.monotonic()
    with segmenter.set_image(request["scan"]) as image:
        setting = time.monotonic() - start
        image.predict(request["prompts"][0])  # warm
        times = []
        for _ in range(request["repeats"]):
            for prompt in request["prompts"]:
                start = time.monotonic()
                image.predict(prompt)
                times.append(time.monotonic() - start)
        kept = image.feature_bytes
    return {
        "set_image": setting,
        "prompt": median(times),
        "slowest_prompt": max(times),
        "feature_mb": kept / 2**20,
        "prompts": len(times),
        "device": segmenter.device,
    }
