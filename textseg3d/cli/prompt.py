"""`textseg3d prompt`: how prompts are understood, without any scan."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from textseg3d.errors import PromptError

if TYPE_CHECKING:
    from textseg3d.text.grammar import ParsedPrompt, PromptTarget
    from textseg3d.zoo.card import ModelCard

HELP = (
    "Show how prompts are understood: finding, anatomy, side, size, negation. Exit code 0 if every "
    "prompt could be read, also when it is negated, uncertain or names nothing known; 3 if one is "
    "empty, contradicts itself, has control characters or more than 2,000 characters."
)
_REFUSED = ("contradiction", "empty")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the texts, `--json` and `--model`."""
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="a prompt in plain words")
    parser.add_argument("--json", action="store_true", help="print a JSON list, an object per text")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="say which targets this model knows (a name or a folder; by default the bundled one)",
    )


def run(args: argparse.Namespace) -> int:
    """Parse and print all texts; return 0, or 3 if a prompt was refused.

    Raises:
        PromptError: for a text that is too long or has control characters.
    """
    from textseg3d.text.grammar import check_prompt, parse_prompt
    from textseg3d.text.knowledge.own import with_own_words

    card = known_model(args.model)
    known = None if card is None else card.concepts
    for text in args.texts:
        check_prompt(text)
    tree = with_own_words({} if card is None else card.wordings)
    parsed = [parse_prompt(text, tree, known) for text in args.texts]
    if args.json:
        print(json.dumps([prompt.to_json() for prompt in parsed], ensure_ascii=False, indent=2))
    else:
        print("\n".join(line for prompt in parsed for line in describe(prompt)))
    refused = any(prompt.status in _REFUSED for prompt in parsed)
    return PromptError.exit_code if refused else 0


def known_model(model: str | None) -> ModelCard | None:
    """A model's card; None if no model is named and none is bundled.

    Raises:
        ModelError: if the named model is not there or its card is damaged.
    """
    from textseg3d.zoo.card import ModelCard
    from textseg3d.zoo.find import default_model, find_model, known_models, local_folder

    if model is not None:
        return ModelCard.read(find_model(model))
    name = default_model()
    for entry in known_models():
        folder = local_folder(entry) if entry.name == name else None
        if folder is not None:
            return ModelCard.read(folder)
    return None


def describe(prompt: ParsedPrompt) -> list[str]:
    """Lines of plain text about one prompt."""
    lines = [f"{prompt.text.strip()!r}: {prompt.status}"]
    lines += [f"  {_target_line(target)}" for target in prompt.targets]
    if prompt.status != "negated":
        lines += [f"  not: {_target_line(target)}" for target in prompt.negated]
    lines += [f"  read {c.got!r} as {c.read_as!r}" for c in prompt.corrections]
    if prompt.hint:
        lines.append(f"  hint: {prompt.hint}")
    return lines


def _target_line(target: PromptTarget) -> str:
    parts = [target.concept]
    if target.side is not None:
        parts.append("both sides" if target.side == "both" else target.side)
    if target.container is not None:
        parts.append(f"in: {target.container}")
    if target.size_mm is not None:
        parts.append(_size(*target.size_mm))
    if target.order is not None:
        rank = f"no. {target.order.rank} " if target.order.rank > 1 else ""
        parts.append(f"{rank}{target.order.by}")
    if target.certainty == "uncertain":
        parts.append("uncertain")
    parts += [f"{'not ' if a.negated else ''}{a.value}" for a in target.attributes]
    parts += [f"near: {place.name}" for place in target.near]
    parts += [f"without: {place.name}" for place in target.exclusions]
    if target.known_to_model is False:
        parts.append("not known to the model")
    return ", ".join(parts)


def _size(low: float | None, high: float | None) -> str:
    if low == high:
        return f"{low:g} mm"
    if low is None:
        return f"up to {high:g} mm"
    return f"at least {low:g} mm" if high is None else f"{low:g} to {high:g} mm"
