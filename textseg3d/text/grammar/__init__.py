"""The prompt grammar: what a prompt in plain words asks for, without any scan or network.

``parse_prompt`` reads findings, anatomy, side, size, count, describing words, negation,
uncertainty, order, lists and exclusions. Where a mistake is dangerous (side, negation, size) the
words decide, never a guess: contradictory prompts are refused with a hint.
"""

from __future__ import annotations

from textseg3d.text.grammar.model import (
    Attribute,
    Correction,
    Order,
    ParsedPrompt,
    Place,
    PromptTarget,
    Status,
)
from textseg3d.text.grammar.parser import MAX_LENGTH, check_prompt, parse_prompt

__all__ = [
    "MAX_LENGTH",
    "Attribute",
    "Correction",
    "Order",
    "ParsedPrompt",
    "Place",
    "PromptTarget",
    "Status",
    "check_prompt",
    "parse_prompt",
]
