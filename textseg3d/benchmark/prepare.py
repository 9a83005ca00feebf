"""Tasks that make what the others measure: a scan, a random nnU-Net, a model of many prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textseg3d.benchmark import scan, weights


def enlarge(request: dict[str, Any]) -> dict[str, Any]:
    """``source``, ``target``, ``shape`` and ``spacing_mm``: see :func:`scan.enlarge`."""
    shape, spacing = request["shape"], request["spacing_mm"]
    path = scan.enlarge(
        Path(request["source"]), Path(request["target"]), tuple(shape), tuple(spacing)
    )
    return {"scan": str(path), "mega_bytes": path.stat().st_size / 1e6}


def random_nnunet(request: dict[str, Any]) -> dict[str, Any]:
    """``folder``, ``classes``, ``features``, ``patch``, ``scan``: nnU-Net's folder, and ours."""
    import shutil

    from textseg3d.convert import convert_nnunet
    from textseg3d.zoo import ModelCard

    folder = Path(request["folder"])
    design = weights.RandomNnunet(
        int(request["classes"]), tuple(request["features"]), tuple(request["patch"])
    )
    source = weights.write_nnunet(folder / "nnunet", design)
    model = convert_nnunet(source, folder / "model")
    weights.fit_last_layer(source, design, model, Path(request["scan"]))
    shutil.rmtree(model)
    model = convert_nnunet(source, folder / "model")
    concepts = ModelCard.read(model).concepts
    return {"source": str(source), "model": str(model), "prompts": list(concepts)}


def many_prompts(request: dict[str, Any]) -> dict[str, Any]:
    """``model``, ``folder``, ``count``: see :func:`weights.many_concepts`."""
    folder = Path(request["folder"])
    names = weights.many_concepts(request["model"], folder, int(request["count"]))
    return {"model": str(folder), "prompts": list(names)}
