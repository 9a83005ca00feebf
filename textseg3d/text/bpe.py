"""Learns byte-pair merges in the form that open_clip's SimpleTokenizer reads."""

from __future__ import annotations

import gzip
import io
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

Pair = tuple[str, str]
HEADER = "#version: textseg3d byte pairs"
END = "</w>"


def learn_merges(words: Counter[str], count: int, *, min_frequency: int = 2) -> list[Pair]:
    """The ``count`` most useful merges, most frequent pair first; ties by spelling.

    Args:
        words: frequency of each pre-split word, spelled in SimpleTokenizer's printable bytes.
        count: largest number of merges.
        min_frequency: a pair rarer than this is not merged.

    Returns:
        Merges in the order in which they apply; the last symbol of a word ends in ``</w>``.
    """
    order = sorted(words)
    symbols = [[*word[:-1], word[-1] + END] for word in order]
    frequency = [words[word] for word in order]
    totals: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, word in enumerate(symbols):
        for pair in pairwise(word):
            totals[pair] += frequency[index]
            places[pair].add(index)
    merges: list[Pair] = []
    while len(merges) < count and totals:
        best = max(totals, key=lambda pair: (totals[pair], pair))
        if totals[best] < min_frequency:
            break
        merges.append(best)
        for index in sorted(places.pop(best)):
            _apply(symbols[index], best, frequency[index], index, totals, places)
        totals.pop(best, None)
    return merges


def _apply(
    word: list[str],
    pair: Pair,
    frequency: int,
    index: int,
    totals: Counter[Pair],
    places: defaultdict[Pair, set[int]],
) -> None:
    """Merges ``pair`` in ``word`` in place and brings the pair counts up to date."""
    for old in pairwise(word):
        totals[old] -= frequency
        if totals[old] <= 0:
            del totals[old]
    merged: list[str] = []
    position = 0
    while position < len(word):
        if tuple(word[position : position + 2]) == pair:
            merged.append(pair[0] + pair[1])
            position += 2
        else:
            merged.append(word[position])
            position += 1
    word[:] = merged
    for new in pairwise(word):
        totals[new] += frequency
        places[new].add(index)


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Words of ``texts`` as SimpleTokenizer splits them, in its printable bytes, with counts."""
    from open_clip.tokenizer import SimpleTokenizer

    splitter = SimpleTokenizer(bpe_path=io.BytesIO(_compressed([])))
    words: Counter[str] = Counter()
    for text in texts:
        for word in splitter.pat.findall(splitter.clean_fn(text)):
            words["".join(splitter.byte_encoder[byte] for byte in word.encode("utf-8"))] += 1
    return words


def write_merges(path: Path, merges: Iterable[Pair]) -> None:
    """Writes a merges file (gzip, the same bytes for the same merges)."""
    path.write_bytes(_compressed(merges))


def _compressed(merges: Iterable[Pair]) -> bytes:
    # No newline at the end: SimpleTokenizer would read it as one more, empty merge.
    text = "\n".join([HEADER, *(" ".join(pair) for pair in merges)])
    return gzip.compress(text.encode("utf-8"), mtime=0)
