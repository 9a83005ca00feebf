"""VoxTell's and SAT's weights become model folders that take any text."""

from __future__ import annotations

import json
import logging
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.convert.child import extract_weights
from textseg3d.convert.plans import read_architecture, read_json, resolve_configuration
from textseg3d.convert.staging import staged_model
from textseg3d.errors import ModelError, PlansError
from textseg3d.inference.closed.network import match_names
from textseg3d.inference.closed.spec import Architecture
from textseg3d.inference.open.engine import WEIGHTS_FILE, build_open
from textseg3d.inference.open.spec import BANK_FILE, OpenSpec, TextModel
from textseg3d.inference.open.texts import TEXT_WEIGHTS, write_bank
from textseg3d.inference.prompts import ANYTHING
from textseg3d.zoo import ModelCard, TrainingSource, write_card
from textseg3d.zoo.card import file_sha256

log = logging.getLogger(__name__)
VOXTELL_LICENCE = "CC-BY-NC-SA-4.0"
VOXTELL_TEXT = "Qwen/Qwen3-Embedding-4B"
# What VoxTell was trained with before each text; another wording gives other vectors.
VOXTELL_INSTRUCTION = (
    "Instruct: Given an anatomical term query, retrieve the precise anatomical entity and "
    "location it represents\nQuery: "
)
SAT_MODALITIES = ("ct", "mri", "us", "pet")
SAT_TEXT = "FremyCompany/BioLORD-2023-C"
SAT_PATCH = (288, 288, 96)
MAX_BANK_BYTES = 2 * 2**30
Weights = dict[str, NDArray[np.float32]]


def convert_voxtell(
    source: str | Path,
    output: str | Path,
    *,
    bank: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Convert a VoxTell model folder (plans.json, fold_0/checkpoint_final.pth).

    Args:
        source: the folder.
        output: the model folder to make.
        bank: VoxTell's `text_embeddings.npz`, so that its texts need no text model.
        overwrite: replace a model folder that exists.

    Returns:
        The model folder.

    Raises:
        UsageError: if the output exists, or holds other things than a model.
        ModelError: if anything in the source is missing, damaged, unsafe or not supported.
        MissingDependencyError: without dynamic_network_architectures.
    """
    root = Path(source).expanduser()
    plans = read_json(root / "plans.json")
    checkpoint = root / "fold_0" / "checkpoint_final.pth"
    _need(checkpoint)

    def make(staging: Path) -> ModelCard:
        weights = _weights(checkpoint, staging, "network_weights")
        spec = voxtell_spec(plans, weights, {checkpoint.name: file_sha256(checkpoint)})
        used = {n: w for n, w in weights.items() if not _unused(n)}
        _write(staging, spec, used, checkpoint)
        if bank is not None:
            write_bank(staging / BANK_FILE, *read_npz_bank(Path(bank), spec.text.width))
        log.warning(
            "VoxTell's weights are licensed %s: not for commercial use, share alike, name its "
            "authors", VOXTELL_LICENCE,
        )  # fmt: skip
        return _card(Path(output).name, spec, VOXTELL_LICENCE, ("CT", "MR", "PET"))

    return _made(Path(output).expanduser(), make, plans, overwrite=overwrite)


def convert_sat(
    source: str | Path,
    output: str | Path,
    *,
    modality: str = "ct",
    bank: str | Path | None = None,
    text_checkpoint: str | Path | None = None,
    text_encoder: str = SAT_TEXT,
    licence: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Convert a checkpoint of SAT (Nano or Pro, the U-Net ones).

    Args:
        source: the `.pth` file.
        output: the model folder to make.
        modality: of the scans, one of :data:`SAT_MODALITIES`.
        bank: `.npz` with `labels` and `embeddings`, made for this modality.
        text_checkpoint: SAT's text encoder `.pth`; its BERT is then ``text_encoder``.
        text_encoder: name or folder of the BERT that SAT's text encoder is built on.
        licence: of the weights.
        overwrite: replace a model folder that exists.

    Returns:
        The model folder.

    Raises:
        UsageError: if the output exists, or holds other things than a model.
        ModelError: if anything in the source is missing, damaged, unsafe or not supported.
        MissingDependencyError: without dynamic_network_architectures.
    """
    checkpoint = Path(source).expanduser()
    _need(checkpoint)
    if modality not in SAT_MODALITIES:
        raise ModelError(f"modality {modality!r} is not one of {', '.join(SAT_MODALITIES)}")

    def make(staging: Path) -> ModelCard:
        weights = _weights(checkpoint, staging, "model_state_dict")
        hashes = {checkpoint.name: file_sha256(checkpoint)}
        text = TextModel(768, text_encoder if text_checkpoint else "", "", SAT_MODALITIES)
        spec = sat_spec(weights, modality, text, hashes)
        used = {n: w for n, w in weights.items() if not _unused(n)}
        _write(staging, spec, used, checkpoint)
        if text_checkpoint is not None:
            _write_sat_text(Path(text_checkpoint), staging)
        if bank is not None:
            write_bank(staging / BANK_FILE, *read_npz_bank(Path(bank), text.width))
        stated = licence or "not stated by the source; ask its authors before you use it"
        return _card(
            Path(output).name, spec, stated, ({"mri": "MR"}.get(modality, modality.upper()),)
        )

    return _made(Path(output).expanduser(), make, {"sat": checkpoint.name}, overwrite=overwrite)


def voxtell_spec(
    plans: Mapping[str, Any], weights: Mapping[str, NDArray[Any]], hashes: dict[str, str]
) -> OpenSpec:
    """The spec of a VoxTell model; sizes that its plans do not name follow from the weights.

    Raises:
        ModelError: if they do not belong together.
    """
    try:
        configuration = resolve_configuration(plans, "3d_fullres")
        entry = {**configuration["architecture"], "network_class_name": "x.ResidualEncoderUNet"}
        design = read_architecture({"architecture": entry})
        hidden, width = weights["project_to_decoder_channels.0.0.weight"].shape
        names = [re.match(r"project_to_decoder_channels\.(\d+)\.", n) for n in weights]
        fused = 1 + max(int(m[1]) for m in names if m)
        layers = [re.match(r"transformer_decoder\.layers\.(\d+)\.", n) for n in weights]
        heads = weights["decoder.seg_layers.0.weight"].shape[1] - design.features[-2]
        a, b, c = (int(n) for n in configuration["patch_size"])
        text = TextModel(
            int(weights["project_text_embed.0.weight"].shape[1]),
            VOXTELL_TEXT,
            VOXTELL_INSTRUCTION,
        )
        return OpenSpec(
            kind="voxtell",
            source=f"VoxTell, {plans.get('plans_name', 'plans')}",
            architecture=design,
            patch_size=(a, b, c),
            text=text,
            query_width=int(width),
            hidden=int(hidden),
            layers=1 + max(int(m[1]) for m in layers if m),
            fused=fused,
            heads=int(heads),
            memory_stage=_memory_stage(design, weights, (a, b, c)),
            source_sha256=hashes,
        )
    except PlansError as error:
        raise ModelError(f"the plans cannot be run: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"the folder is not as VoxTell writes it ({type(error).__name__}: {error!s:.100})"
        ) from None


def _memory_stage(
    design: Architecture, weights: Mapping[str, NDArray[Any]], patch: tuple[int, int, int]
) -> int:
    """The stage whose grid has as many tokens as there are positions."""
    tokens, channels = len(weights["pos_embed"]), weights["project_bottleneck_embed.0.weight"].shape
    size = list(patch)
    for stage, strides in enumerate(design.strides):
        size = [n // s for n, s in zip(size, strides)]
        if size[0] * size[1] * size[2] == tokens and design.features[stage] == channels[1]:
            return stage
    raise ModelError(
        f"{tokens} positions fit no stage of patch {patch}; the weights are of another patch size"
    )


def sat_spec(
    weights: Mapping[str, NDArray[Any]], modality: str, text: TextModel, hashes: dict[str, str]
) -> OpenSpec:
    """The spec of a SAT model, from the shapes of its weights.

    Raises:
        ModelError: if they are of another network.
    """
    pattern = re.compile(
        r"backbone\.(encoder\.stages\.(\d+)\.0|decoder\.stages\.(\d+))\.convs\.(\d+)\.conv\.weight"
    )
    encoder: dict[int, int] = {}
    decoder: dict[int, int] = {}
    features: dict[int, int] = {}
    for name, array in weights.items():
        match = pattern.fullmatch(name)
        if match is None:
            continue
        side, stage = (encoder, match[2]) if match[2] is not None else (decoder, match[3])
        side[int(stage)] = max(side.get(int(stage), 0), int(match[4]) + 1)
        if side is encoder:
            features[int(stage)] = len(array)
    stages = len(features)
    try:
        if stages != 6 or sorted(features) != list(range(6)):
            raise ModelError(
                f"the checkpoint has {stages} U-Net stages, expected 6; SAT's Nano and Pro (UNET, "
                "UNET-L) can be run, SwinUNETR and Mamba cannot"
            )
        hidden = len(weights["projection_layer.0.weight"])
        layers = [re.match(r"transformer_decoder\.layers\.(\d+)\.", n) for n in weights]
        return OpenSpec(
            kind="sat",
            source=f"SAT, {features[0]} features",
            architecture=Architecture(
                kind="PlainConvUNet",
                features=tuple(features[s] for s in range(6)),
                kernels=((3, 3, 3),) * 6,
                strides=((1, 1, 1),) + ((2, 2, 2),) * 5,
                encoder=tuple(encoder[s] for s in range(6)),
                decoder=tuple(decoder[s] for s in range(5)),
            ),
            patch_size=SAT_PATCH,
            text=text,
            query_width=len(weights["transformer_decoder.norm.weight"]),
            hidden=hidden,
            layers=1 + max(int(m[1]) for m in layers if m),
            heads=len(weights["mask_embed_proj.0.weight"]),
            channels=int(weights["backbone.encoder.stages.0.0.convs.0.conv.weight"].shape[1]),
            spacing=(1.0, 1.0, 3.0),
            modality=modality,
            source_sha256=hashes,
        )
    except (KeyError, PlansError, ValueError) as error:
        raise ModelError(f"the checkpoint is not as SAT writes it ({error!s:.100})") from None


def _unused(name: str) -> bool:
    """Aliases of other weights, and layers that only training needs."""
    parts = (".self_attn.", ".all_modules.", "mid_mask_embed_proj")
    starts = ("decoder.encoder.", "backbone.decoder.encoder.", "pos_embedding")
    return (
        name.startswith(starts)
        or any(part in name for part in parts)
        or (name.startswith("transformer_decoder.") and ".norm1." in name)
    )


def _weights(checkpoint: Path, staging: Path, key: str) -> Weights:
    from safetensors.numpy import load_file

    part = staging / "part.safetensors"
    log.info("reading %s", checkpoint)
    extract_weights(checkpoint, part, key=key, facts=False)
    weights = load_file(str(part))
    part.unlink()
    return weights


def _write(staging: Path, spec: OpenSpec, weights: Weights, checkpoint: Path) -> None:
    """Weights that fit the network exactly, and the spec."""
    import torch
    from safetensors.numpy import save_file

    with torch.device("meta"):
        network = build_open(spec)
    shapes = {name: tuple(array.shape) for name, array in weights.items()}
    chosen = match_names(network, shapes, checkpoint.name)
    save_file({own: weights[stored] for own, stored in chosen.items()}, str(staging / WEIGHTS_FILE))
    spec.save(staging)


def _write_sat_text(checkpoint: Path, staging: Path) -> None:
    """SAT's text encoder: BERT, two linear layers, a vector per modality."""
    from safetensors.numpy import save_file

    _need(checkpoint)
    weights = _weights(checkpoint, staging, "model_state_dict")
    renamed = {}
    for name, array in weights.items():
        for start, ours in (
            ("text_tower.biolord.", "bert."),
            ("projection_layer.", "projection."),
            ("modality_embed.", "modality."),
        ):
            if name.startswith(start):
                renamed[ours + name.removeprefix(start)] = array
    needed = {f"projection.{i}.{w}" for i in (0, 2) for w in ("weight", "bias")}
    if not needed | {"modality.weight"} <= set(renamed):
        raise ModelError(f"{checkpoint} is no text encoder of SAT; give its text_encoder .pth")
    save_file(renamed, str(staging / TEXT_WEIGHTS))


def read_npz_bank(path: Path, width: int) -> tuple[Sequence[str], NDArray[Any]]:
    """Texts and vectors of an `.npz` with `labels` and `embeddings`; no pickle is read.

    Raises:
        ModelError: if it is missing, damaged or of another width.
    """
    _need(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > MAX_BANK_BYTES:
            raise ModelError(f"{path} is larger than {MAX_BANK_BYTES} bytes")
        with np.load(path, allow_pickle=False) as data:
            labels, vectors = data["labels"], data["embeddings"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is no bank of text vectors ({error!s:.80})") from None
    if vectors.shape != (len(labels), width) or vectors.dtype.kind != "f":
        raise ModelError(
            f"{path} has vectors of shape {vectors.shape}, expected {width} numbers per text"
        )
    return [str(label) for label in labels], vectors


def _need(path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"{path} is missing; give the folder or file as its authors publish it")


def _made(
    target: Path, make: Callable[[Path], ModelCard], plans: Mapping[str, Any], *, overwrite: bool
) -> Path:
    """The model folder, complete or not at all."""
    with staged_model(target, overwrite=overwrite) as staging:
        card = make(staging)
        text = json.dumps(plans, indent=1, ensure_ascii=False)
        (staging / "plans.json").write_text(text + "\n", encoding="utf-8")
        write_card(staging, card)
    return target


def _card(name: str, spec: OpenSpec, licence: str, modalities: tuple[str, ...]) -> ModelCard:
    return ModelCard(
        name=name,
        version=next(iter(spec.source_sha256.values()))[:12],
        summary=f"Converted from {spec.source}; takes any text.",
        modalities=modalities,
        concepts=(ANYTHING,),
        weights_licence=licence,
        training_sources=(
            TrainingSource("see its authors' publication", "see its authors", "images and labels"),
        ),
        limits=(
            "Takes any text, and says nothing about which it understands.",
            "Scores were not measured here; see the source.",
        ),
    )
