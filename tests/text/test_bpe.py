"""The merge learner against a slow count, and against open_clip's SimpleTokenizer."""

import gzip
from collections import Counter
from itertools import pairwise

from open_clip.tokenizer import SimpleTokenizer

from textseg3d.text.bpe import count_words, learn_merges, write_merges


def slow_merges(words, count):
    """Counts every pair afresh for each merge, as the method is defined."""
    spelled = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges = []
    for _ in range(count):
        totals = Counter()
        for word, symbols in spelled.items():
            for pair in pairwise(symbols):
                totals[pair] += words[word]
        if not totals:
            break
        best = max(totals, key=lambda pair: (totals[pair], pair))
        if totals[best] < 2:
            break
        merges.append(best)
        for word, symbols in spelled.items():
            merged = []
            while symbols:
                if tuple(symbols[:2]) == best:
                    merged.append(symbols[0] + symbols[1])
                    symbols = symbols[2:]
                else:
                    merged.append(symbols[0])
                    symbols = symbols[1:]
            spelled[word] = merged
    return merges


def test_merges_equal_those_of_a_recount_at_every_step():
    words = Counter(
        {"kidney": 9, "kidneys": 4, "rib": 7, "ribs": 5, "bibib": 3, "aaaa": 2, "left": 6, "a": 8}
    )
    assert learn_merges(words, 40) == slow_merges(words, 40)


def test_rare_pairs_are_left_alone():
    assert learn_merges(Counter({"xyz": 1}), 10) == []
    assert learn_merges(Counter({"xy": 2, "xz": 1}), 10) == [("x", "y</w>")]


def test_simple_tokenizer_reads_every_merge_and_uses_it(tmp_path):
    words = count_words(["left kidney", "left kidneys", "Left Kidney!", "left"])
    assert words == {"left": 4, "kidney": 2, "kidneys": 1, "!": 1}
    merges = learn_merges(words, 100)
    write_merges(tmp_path / "bpe.txt.gz", merges)
    tokenizer = SimpleTokenizer(bpe_path=str(tmp_path / "bpe.txt.gz"))
    assert list(tokenizer.bpe_ranks) == merges
    assert tokenizer.vocab_size == 512 + len(merges) + 2
    assert "" not in tokenizer.encoder
    assert tokenizer.bpe("left") == "left</w>"
    assert tokenizer.bpe("kidney") == "kidney</w>"


def test_a_merges_file_has_the_same_bytes_every_time(tmp_path):
    for name in ("a", "b"):
        write_merges(tmp_path / name, [("a", "b"), ("ab", "c</w>")])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert gzip.decompress((tmp_path / "a").read_bytes()).decode().split("\n")[1:] == [
        "a b",
        "ab c</w>",
    ]
