"""Tasks that make what the others measure: a scan, nnU-Nets, a model of many prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from textseg3d.benchmark import scan, weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from textseg3d.io import Volume


def enlarge(request: dict[str, Any]) -> dict[str, Any]:
    """``source``, ``target``, ``shape`` and ``spacing_mm``: see :func:`scan.enlarge`."""
    shape, spacing = request["shape"], request["spacing_mm"]
    path = scan.enlarge(
        Path(request["source"]), Path(request["target"]), tuple(shape), tuple(spacing)
    )
    return {"scan": str(path), "mega_bytes": path.stat().st_size / 1e6}


def fitted_nnunet(request: dict[str, Any]) -> dict[str, Any]:
    """nnU-Nets that were trained on one scan for a minute, one per number of classes.

    Args:
        request: ``folder``, ``classes`` (numbers), ``features``, ``patch``, ``phases``; ``scan``
            at the network's spacing; ``teacher``, a prompt model whose masks of that scan are
            learned.

    Returns:
        ``networks``: number → nnU-Net's folder, ours, and its prompts; ``masks``: whose → what
        they look like on that scan.
    """
    import numpy as np

    from textseg3d.benchmark import fitting
    from textseg3d.convert import convert_nnunet
    from textseg3d.inference.closed.engine import ClosedEngine, load_closed
    from textseg3d.inference.device import choose_runtime
    from textseg3d.inference.progress import Progress
    from textseg3d.io import read_volume
    from textseg3d.zoo import ModelCard

    volume = read_volume(request["scan"])
    counts = sorted(int(count) for count in request["classes"])
    shape = tuple(request["features"]), tuple(request["patch"])
    masks = _teacher(request["teacher"], volume)
    known = fitting.structures(masks, volume.array[0])
    targets = [fitting.cut(known, count) for count in counts]
    network = weights.first_network(weights.NnunetDesign(counts[-1], *shape))
    values = fitting.normalised(volume.array[0])
    fitted = fitting.fit(network, values, targets, request["phases"])
    networks, looks = {}, {"the teacher": fitting.mask_figures(masks)}
    looks["the teacher"]["cells"] = fitting.mixed_cells(known)
    for count, target, found in zip(counts, targets, fitted):
        folder = Path(request["folder"], str(count))
        design = weights.NnunetDesign(count, *shape)
        source = weights.write_nnunet(folder / "nnunet", design, found)
        model = convert_nnunet(source, folder / "model")
        engine = ClosedEngine(load_closed(model), choose_runtime("cpu"))
        run = next(engine.windows(engine.prepare(volume, exact=False), Progress(None)))
        seen = run.label_map().values
        for name, labels in (("", seen), (", as taught", target)):
            own = [labels == value for value in range(1, count + 1)]
            case = f"{count} classes{name}"
            looks[case] = fitting.mask_figures(own) | {"cells": fitting.mixed_cells(labels)}
        same = np.count_nonzero((seen == target) & (target > 0))
        total = int(np.count_nonzero(seen)) + int(np.count_nonzero(target))
        looks[f"{count} classes"]["dice"] = 2 * int(same) / max(1, total)
        concepts = ModelCard.read(model).concepts
        networks[str(count)] = {
            "source": str(source), "model": str(model), "prompts": list(concepts)
        }  # fmt: skip
    return {"networks": networks, "masks": looks}


def _teacher(model: str, volume: Volume) -> list[NDArray[np.bool_]]:
    """Masks [D, H, W] of all that a prompt model's main network knows, and finds."""
    from textseg3d.inference.segmenter import Segmenter
    from textseg3d.plans.schema import Plans
    from textseg3d.zoo import find_model

    stages = Plans.load(find_model(model) / "plans.json").configurations.values()
    answered = {name for stage in stages for name in stage.answers}
    segmenter = Segmenter(model, "cpu")
    asked = [name for name in segmenter.concepts if name not in answered]
    return [result.array for result in segmenter.predict(volume, asked).values() if result.voxels]


def many_prompts(request: dict[str, Any]) -> dict[str, Any]:
    """``model``, ``folder``, ``count``: see :func:`weights.many_concepts`."""
    folder = Path(request["folder"])
    names = weights.many_concepts(request["model"], folder, int(request["count"]))
    return {"model": str(folder), "prompts": list(names)}
