"""`textseg3d train DATASET CONFIGURATION FOLD`: nnU-Net's folders, a prompted model."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textseg3d.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textseg3d.dataset import Dataset, Fold
    from textseg3d.plans import Configuration, Plans
    from textseg3d.preprocessing.store import CaseStore
    from textseg3d.training.stored import StoreDataset
    from textseg3d.training.targets import DatasetTargets

DEFAULT_TEXT = "ct-nano"  # the model whose text encoder is taken
STEPS = 5000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """What is trained, on what, and where it goes."""

    dataset: Dataset
    plans: Plans
    name: str
    configuration: Configuration
    targets: DatasetTargets
    store: CaseStore
    fold: Fold
    run: Path

    @property
    def model(self) -> Path:
        return self.run / "model"

    @property
    def text(self) -> Path:
        return self.model / "text"

    def source(self, cases: Sequence[str], **options: object) -> StoreDataset:
        from textseg3d.training.stored import StoreDataset

        return StoreDataset(
            self.store, cases, self.plans, self.name, self.configuration, self.targets,
            **options,  # type: ignore[arg-type]
        )  # fmt: skip


def train_dataset(args: argparse.Namespace) -> int:
    """Train, export and validate one fold; 0 on success.

    Raises:
        UsageError: for a fold or options that cannot be meant.
        InputError: for missing plans or cases.
    """
    from textseg3d.inference.device import tune_process
    from textseg3d.text.encoder import load_encoder
    from textseg3d.training.loop import train
    from textseg3d.training.ranks import joined
    from textseg3d.training.tune import Start
    from textseg3d.training.validation import Validation

    _check(args)
    tune_process()
    base = _base(args)
    first = True
    if args.val:
        job = _job(args, base)
    else:
        from textseg3d.cli.train import make_machine, make_settings

        with joined(args.device) as (ranks, device):
            job = _job(args, base)
            settings = make_settings(args, steps=STEPS, batch=job.configuration.batch_size)
            first = ranks.first
            if first:
                _write_setting(args, job, base)
            ranks.wait()
            validation = None
            if args.validate_every and job.fold["val"]:
                held = job.source(job.fold["val"], seed=args.seed + 1, augment=False)
                validation = Validation(held, args.validate_every)
            train(
                job.source(job.fold["train"], seed=args.seed, prompts=args.prompts),
                load_encoder(job.text),
                job.run,
                settings,
                machine=make_machine(device, ranks),
                start=None if base is None else Start(base / "model.safetensors", args.tune),
                validation=validation,
                resume=args.resume,
                tensorboard=args.tensorboard,
            )
    if not first:
        return 0
    _export(args, job)
    if not args.no_validation and job.fold["val"]:
        _validate(args, job)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.fold is None or not (args.fold == "all" or args.fold.isdigit()):
        raise UsageError(f"FOLD is {args.fold!r}, expected 0 to 4 or all")
    for flag, value in (
        ("-o", args.out), ("--model-folder", args.model_folder), ("--card", args.card),
        ("--export-only", args.export_only),
    ):  # fmt: skip
        if value:
            raise UsageError(f"{flag} is for a prepared training set; a dataset has its own place")
    if args.tune != "all" and args.base is None:
        raise UsageError(f"--tune {args.tune} needs --from MODEL")
    if args.patience and not args.validate_every:
        raise UsageError("--patience needs --validate-every")


def _base(args: argparse.Namespace) -> Path | None:
    """The folder of the model that is fine-tuned."""
    if args.base is None:
        return None
    from textseg3d.zoo import find_model, verify_model

    folder = find_model(args.base)
    verify_model(folder)
    return folder


def _plans_file(args: argparse.Namespace) -> Path:
    from textseg3d.cli.train import PLANS_NAME
    from textseg3d.dataset import dataset_folder

    name = args.plans or PLANS_NAME
    if name.endswith(".json"):
        return Path(name)
    return dataset_folder(args.data, "preprocessed") / f"{name}.json"


def _run_folder(args: argparse.Namespace) -> Path:
    from textseg3d.dataset import dataset_folder

    results = dataset_folder(args.data, "results")
    trainer = f"{args.trainer}__{_plans_file(args).stem}__{args.configuration}"
    return results / trainer / f"fold_{args.fold}"


def _job(args: argparse.Namespace, base: Path | None) -> _Job:
    from textseg3d.dataset import Dataset, dataset_folder
    from textseg3d.dataset.case_notes import load_case_notes
    from textseg3d.plans import Plans
    from textseg3d.preprocessing.pipeline import store_folder
    from textseg3d.preprocessing.store import CaseStore
    from textseg3d.text.encoder import load_encoder
    from textseg3d.training.configure import prompted_configuration
    from textseg3d.training.targets import dataset_targets

    raw, prepared = dataset_folder(args.data), dataset_folder(args.data, "preprocessed")
    path = _plans_file(args)
    if not path.is_file():
        raise InputError(
            f"there are no plans {path}; run `textseg3d plan_and_preprocess -d {args.data}` first"
        )
    plans, dataset, run = Plans.load(path), Dataset.load(raw), _run_folder(args)
    width = load_encoder(_texts(args, base)).embed_dim
    configuration = prompted_configuration(
        plans, args.configuration, network=args.network, embed_dim=width,
        modality_token=args.modality_token or _had_modality_token(args),
    )  # fmt: skip
    if base is not None:
        _check_base(plans, args.configuration, base, args)
    store = CaseStore(store_folder(prepared, plans.configuration(args.configuration)))
    notes = load_case_notes(raw, [label.name for label in dataset.description.labels])
    targets = dataset_targets(dataset.description, notes=notes)
    return _Job(
        dataset, plans, args.configuration, configuration, targets,
        store, _fold(args, dataset, prepared, raw), run,
    )  # fmt: skip


def _had_modality_token(args: argparse.Namespace) -> bool:
    """Whether the run that goes on, or is validated, was started with one."""
    from textseg3d.plans import Plans as Loaded

    path = _run_folder(args) / "plans.json"
    if not ((args.resume or args.val) and path.is_file()):
        return False
    return Loaded.load(path).configuration(args.configuration).text.modality_token


def _check_base(plans: Plans, name: str, base: Path, args: argparse.Namespace) -> None:
    """The dataset's configuration must have the network of the model."""
    from textseg3d.plans import Plans as Loaded

    wanted = plans.configuration(name).architecture
    own = Loaded.load(base / "plans.json").configurations.values()
    models = [one for one in own if one.cascade is None]
    if wanted.network_class_name != "PromptUNet" or not any(
        _normal(c.architecture.arch_kwargs) == _normal(wanted.arch_kwargs) for c in models
    ):
        raise UsageError(
            f"configuration {name!r} has another network than {args.base}; run `textseg3d "
            f"plan_and_preprocess -d {args.data} --preset {base / 'plans.json'} -c plans` and "
            "train the configuration 'plans'"
        )


def _normal(arguments: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()}


def _fold(args: argparse.Namespace, dataset: Dataset, prepared: Path, raw: Path) -> Fold:
    from textseg3d.dataset import load_or_make_splits

    names = [case.name for case in dataset.cases]
    if args.fold == "all":
        return {"train": names, "val": []}
    splits = load_or_make_splits(prepared, names, raw)
    if int(args.fold) >= len(splits):
        raise UsageError(
            f"fold {args.fold} was asked for, there are {len(splits)} (from 0), or all"
        )
    return splits[int(args.fold)]


def _texts(args: argparse.Namespace, base: Path | None) -> Path:
    """The text encoder: of the run that goes on, else as asked for, else of the base model."""
    from textseg3d.zoo import find_model

    own = _run_folder(args) / "model" / "text"
    if (args.resume or args.val) and own.is_dir():
        return own
    return Path(args.text or (base or find_model(DEFAULT_TEXT)) / "text")


def _write_setting(args: argparse.Namespace, job: _Job, base: Path | None) -> None:
    """nnU-Net's files one level up, the prompted plans, and the text encoder in its place.

    Raises:
        UsageError: if a run that goes on had other plans.
    """
    from textseg3d.dataset import dataset_folder
    from textseg3d.plans import Plans

    path = job.run / "plans.json"
    own = _own_plans(job)
    if args.resume and path.is_file() and Plans.load(path) != own:
        raise UsageError(
            f"{path} is of another network or configuration; continue with the same options, or "
            "start again without --continue"
        )
    texts = _texts(args, base)
    if texts != job.text:
        shutil.rmtree(job.text, ignore_errors=True)
        shutil.copytree(texts, job.text)
    own.save(path)
    prepared = dataset_folder(args.data, "preprocessed")
    for name, source in (
        ("plans.json", _plans_file(args)),
        ("dataset.json", job.dataset.description.path),
        ("dataset_fingerprint.json", prepared / "dataset_fingerprint.json"),
    ):
        if source.is_file():
            shutil.copyfile(source, job.run.parent / name)


def _own_plans(job: _Job) -> Plans:
    from textseg3d.plans import Plans

    return Plans(job.plans.dataset_name, job.plans.plans_name, {job.name: job.configuration})


def _export(args: argparse.Namespace, job: _Job) -> None:
    from textseg3d.training.checkpoint import BEST, NAME
    from textseg3d.training.model_folder import write_model_folder
    from textseg3d.zoo import ModelCard, TrainingSource, write_card

    best = args.val_best or bool(args.patience)
    concepts = [target.name for target in job.targets.entries]
    checkpoint = BEST if best and (job.run / BEST).is_file() else NAME
    write_model_folder(
        job.run, job.model, concepts, _own_plans(job), job.name, job.text, checkpoint
    )
    data = json.loads(job.dataset.description.path.read_text(encoding="utf-8"))
    licence = str(data.get("licence") or data.get("license") or "unspecified")
    cases = job.fold["train"]
    card = ModelCard(
        name=f"{job.dataset.name}-{job.name}-fold_{args.fold}",
        version="0",
        summary=f"Trained on {job.dataset.name} by `textseg3d train`.",
        modalities=_modalities(job, cases),
        concepts=tuple(concepts),
        wordings=job.targets.own,
        weights_licence="unspecified",
        training_sources=(
            TrainingSource(job.dataset.name, licence, "images and labels", len(cases)),
        ),
        limits=("Knows only what the dataset shows.",),
    )  # fmt: skip
    write_card(job.model, card)
    logger.info("model written to %s", job.model)


def _modalities(job: _Job, cases: Sequence[str]) -> tuple[str, ...]:
    """Of the cases where all say theirs, otherwise of the channels."""
    from textseg3d.text.modality import channel_modality

    notes = job.targets.notes
    found: list[str] = []
    for case in cases:
        if case in notes and notes[case].modality is not None:
            found.append(str(notes[case].modality))
    if len(found) < len(cases):
        found += [channel_modality(c) for c in job.dataset.description.channel_names]
    return tuple(dict.fromkeys(found))


def _validate(args: argparse.Namespace, job: _Job) -> None:
    from textseg3d.cli.logs import progress_reporter
    from textseg3d.evaluation.fold import SUMMARY, predict_cases, score_cases
    from textseg3d.evaluation.protocols.nnunet import mean_dice
    from textseg3d.inference.segmenter import Segmenter

    out = job.run / "validation"
    prompts = {label: name for name, label in job.targets.labels.items()}
    names, token = job.fold["val"], job.configuration.text.modality_token
    segmenter = Segmenter(job.model, device=args.device)
    with progress_reporter(args) as on_progress:
        predict_cases(
            segmenter, job.dataset, names, prompts, out, probabilities=args.npz,
            modalities={case: job.targets.modality(case) for case in names if token},
            on_progress=on_progress,
        )  # fmt: skip
    summary = score_cases(job.dataset, names, out)
    for name, values in job.targets.values.items():
        key = str(values[0] if len(values) == 1 else tuple(values))
        print(f"{name}\t{summary['mean'][key]['Dice']:.4f}")
    print(f"mean\t{mean_dice(summary):.4f}")
    logger.info("written: %s", out / SUMMARY)
