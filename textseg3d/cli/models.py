"""`textseg3d models`: which models there are, what they can do, whether their files are whole."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from textseg3d.cli.parser import add_common_arguments
from textseg3d.errors import ModelError, UsageError

HELP = "List the models that can be named, describe one, download one, or check its files."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `list`, `info`, `download` and `verify`."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    what = "model name, model folder, or hf-hub:owner/repo@revision"
    for name, text in (
        ("list", "every model that has a name"),
        ("info", "the card of a model: concepts, measured scores, limits, licences"),
        ("download", "get a hub model onto this machine and check it"),
        ("verify", "check size and sha256 of each file, and the numbers in the weights"),
    ):
        child = commands.add_parser(name, help=text, description=text)
        if name != "list":
            child.add_argument("model", metavar="MODEL", help=what)
        child.add_argument("--json", action="store_true", help="print JSON")
        add_common_arguments(child)


def run(args: argparse.Namespace) -> int:
    """Run the chosen action; return its exit code."""
    actions = {"list": _list, "info": _info, "download": _download, "verify": _verify}
    return actions[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from textseg3d.zoo import ModelCard, default_model, known_models
    from textseg3d.zoo.find import local_folder

    default = default_model()
    rows: list[dict[str, Any]] = []
    for entry in known_models():
        folder = local_folder(entry)
        row: dict[str, Any] = {
            "name": entry.name,
            "default": entry.name == default,
            "source": entry.source,
            "summary": entry.summary,
            "folder": None if folder is None else str(folder),
        }
        if folder is not None:
            try:
                card = ModelCard.read(folder)
                row |= {"version": card.version, "concepts": len(card.concepts)}
            except ModelError as error:
                row["problem"] = str(error)
        rows.append(row)
    if args.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    for row in rows:
        state = "not on this machine" if row["folder"] is None else row["source"]
        if "version" in row:
            state += f", version {row['version']}, {row['concepts']} concepts"
        print(f"{row['name']}{' (default)' if row['default'] else ''}: {row['summary']}")
        print(f"  {row.get('problem') or state}")
    return 0


def _info(args: argparse.Namespace) -> int:
    from textseg3d.zoo import ModelCard, find_model

    folder = find_model(args.model)
    card = ModelCard.read(folder)
    if args.json:
        print(json.dumps({"folder": str(folder), **card.to_json()}, indent=1, ensure_ascii=False))
        return 0
    print(f"{card.name} {card.version}: {card.summary}")
    print(f"folder: {folder}")
    print(f"for: {', '.join(card.modalities)}. {card.intended_use}")
    print(f"licence of the weights: {card.weights_licence}")
    print(f"concepts ({len(card.concepts)}): {', '.join(card.concepts)}")
    print("learned from:")
    for source in card.training_sources:
        count = "" if source.cases is None else f"{source.cases} × "
        print(f"  {count}{source.name} ({source.used_for}; {source.licence})")
    for table in card.evaluations:
        print(f"measured: {table.metric} on {table.data} ({table.how})")
        for concept, score in table.mean.items():
            print(f"  {concept:<32} {score:.3f}")
    if not card.evaluations:
        print("measured: nothing yet")
    for limit in card.limits:
        print(f"limit: {limit}")
    return 0


def _download(args: argparse.Namespace) -> int:
    from textseg3d.zoo.find import HUB_PREFIX, known_models
    from textseg3d.zoo.hub import fetch_model, parse_reference

    sources = {entry.name: entry.source for entry in known_models()}
    text = sources.get(args.model, args.model)
    if not text.startswith(HUB_PREFIX):
        raise UsageError(f"{args.model!r} is not a hub model; give {HUB_PREFIX}owner/repo@revision")
    folder = fetch_model(text, refresh=True)
    if args.json:
        reference = parse_reference(text)
        print(json.dumps({"folder": str(folder), **reference._asdict()}, ensure_ascii=False))
    else:
        print(folder)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from textseg3d.zoo import check_model, find_model

    folder: Path = find_model(args.model)
    checks = check_model(folder)
    bad = [check for check in checks if check.problem]
    if args.json:
        rows = [{"file": c.name, "ok": not c.problem, "problem": c.problem} for c in checks]
        print(json.dumps({"folder": str(folder), "ok": not bad, "files": rows}, indent=1))
    else:
        for check in checks:
            state = f"FAIL {check.name}: {check.problem}" if check.problem else f"ok   {check.name}"
            print(state)
        print(f"{folder}: {'whole' if not bad else f'{len(bad)} problem(s); get the model again'}")
    return ModelError.exit_code if bad else 0
