"""Ways in which people put a name into a prompt, and small slips of the keyboard."""

from __future__ import annotations

import random

TEMPLATES = (
    "the {}",
    "segment the {}",
    "segment {}",
    "please segment the {}",
    "show the {}",
    "find the {}",
    "where is the {}",
    "outline of the {}",
    "mask of the {}",
    "{} mask",
    "{} segmentation",
    "{} on CT",
    "{} in this CT scan",
    "CT of the {}",
    "visualize the {} in this scan",
    "delineate {}",
    "whole {}",
    "entire {}",
    "volume of the {}",
    "patient's {}",
    "could you outline the {}",
    "can you find the {} for me",
    "i need the {}",
    "mark {} please",
    "{}, please",
    "{} if visible",
    "contour of the {}",
    "{} in the image",
    "label the {}",
    "extract {}",
    "all of the {}",
    "{} only",
    "ct scan showing the {}",
    "draw a mask of {}",
)
_SHORTEST_WORD_WITH_SLIP = 7


def vary(text: str, rng: random.Random, *, template: float = 0.35, slip: float = 0.08) -> str:
    """``text``, sometimes inside a template and sometimes with one typing error.

    Args:
        text: a wording of a target.
        rng: source of chance.
        template: probability of a template.
        slip: probability of a typing error in one long word.
    """
    if rng.random() < slip:
        text = mistype(text, rng)
    if rng.random() < template:
        text = rng.choice(TEMPLATES).format(text)
    return text


def mistype(text: str, rng: random.Random) -> str:
    """Drops, doubles or swaps letters inside one word of seven or more letters, if there is one.

    Short words stay as they are: "ilium" and "ileum" differ by one letter.
    """
    words = text.split(" ")
    long = [i for i, w in enumerate(words) if len(w) >= _SHORTEST_WORD_WITH_SLIP and w.isalpha()]
    if not long:
        return text
    index = rng.choice(long)
    word = words[index]
    place = rng.randrange(1, len(word) - 2)
    kind = rng.randrange(3)
    if kind == 0:
        word = word[:place] + word[place + 1 :]
    elif kind == 1:
        word = word[:place] + word[place] + word[place:]
    else:
        word = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    words[index] = word
    return " ".join(words)
