"""``parse_prompt``: a prompt in plain words to what it asks for.

The pipeline: normalise and tokenise → correct spelling → tag (names of the tree by longest
match, sizes, cues) → phrases with negation and uncertainty → links (what lies in what) → targets.
Every step is linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace

from textseg3d.errors import PromptError
from textseg3d.suggest import did_you_mean
from textseg3d.text.grammar.adverbs import without_adverbs
from textseg3d.text.grammar.areas import below_sides, within_areas
from textseg3d.text.grammar.assemble import targets_of
from textseg3d.text.grammar.brackets import without_repetitions
from textseg3d.text.grammar.chunks import chunk
from textseg3d.text.grammar.clauses import without_sound_clauses
from textseg3d.text.grammar.context import only_asked
from textseg3d.text.grammar.counterpart import with_counterparts
from textseg3d.text.grammar.entries import as_named
from textseg3d.text.grammar.headings import under_headings
from textseg3d.text.grammar.joining import prepare
from textseg3d.text.grammar.known import KnownConcepts
from textseg3d.text.grammar.lexicon import Lexicon, lexicon_of
from textseg3d.text.grammar.linking import Linker
from textseg3d.text.grammar.model import ParsedPrompt, PromptTarget, Status
from textseg3d.text.grammar.nodes import nodes_of
from textseg3d.text.grammar.parts import Mention, Phrase, Sentence
from textseg3d.text.grammar.refine import Contradiction, Refiner
from textseg3d.text.grammar.relative import with_sides
from textseg3d.text.grammar.repeats import without_repeats
from textseg3d.text.grammar.requests import asked_for
from textseg3d.text.grammar.rewriting import said_in_full
from textseg3d.text.grammar.series import spelled_out
from textseg3d.text.grammar.spelling import Spelling, correct
from textseg3d.text.grammar.tagging import tag
from textseg3d.text.grammar.telling import told
from textseg3d.text.grammar.tokens import fold, tokenise
from textseg3d.text.grammar.unclaimed import completed, without_sound
from textseg3d.text.grammar.words import is_everyday
from textseg3d.text.knowledge import KnowledgeTree, Target, load_tree

MAX_LENGTH = 2000
_LABEL = re.compile(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)+")
_BLANKS = frozenset("\t\n\r")


def check_prompt(text: str) -> None:
    """Refuses a prompt that no reading could make safe.

    Raises:
        PromptError: for more than 2,000 characters or for control characters.
    """
    if len(text) > MAX_LENGTH:
        raise PromptError(
            f"the prompt has {len(text)} characters, at most {MAX_LENGTH} are allowed; "
            f"shorten it, or use 'textseg3d ground' for a report"
        )
    bad = next(
        (c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in _BLANKS), ""
    )
    if bad:
        raise PromptError(
            f"the prompt has the control character U+{ord(bad):04X}; remove it and ask again"
        )


def parse_prompt(
    text: str,
    tree: KnowledgeTree | None = None,
    known: Iterable[str | Target] | None = None,
) -> ParsedPrompt:
    """How ``text`` is understood; never raises for any text.

    Args:
        text: the prompt, up to 2,000 characters; longer ones, and such with control characters,
            have the status "unknown" (``check_prompt`` raises for them).
        tree: the knowledge tree, the bundled one by default.
        known: what a model knows (canonical names, preferred names or targets); fills
            ``known_to_model``.
    """
    tree = tree or load_tree()
    try:
        check_prompt(text)
    except PromptError as error:
        return ParsedPrompt(text, "unknown", hint=str(error))
    if not any(c.isalnum() or unicodedata.category(c) == "So" for c in text):
        return ParsedPrompt(text, "empty", hint="write what to look for, for example 'left kidney'")
    lexicon = lexicon_of(tree)
    label = _label(text, tree)
    raw = tokenise(text.replace("_", " ") if label is None else text)
    tokens = prepare(as_named(spelled_out(raw), lexicon), lexicon)
    tokens = without_repetitions(tokens, lexicon)
    tokens = without_adverbs(tokens)
    for english in (False, True):  # "amigdala", which is none in English
        spelling = correct(tokens, lexicon, english=english)
        refiner = Refiner(lexicon)
        found: list[PromptTarget] = []
        ignored: list[str] = []
        try:
            if label is not None:
                found.append(_plain(label, tree))
            else:
                found, ignored = _read(spelling, lexicon, refiner)
                found = _sensible(without_repeats(found, refiner), ignored)
                found = without_sound(found, refiner)
        except Contradiction as error:
            corrections = spelling.corrections
            return ParsedPrompt(text, "contradiction", corrections=corrections, hint=str(error))
        foreign = any(_foreign(word, lexicon) for word in ignored)
        if (found and not foreign) or spelling.side_like or spelling.ambiguous:
            break
    return _result(text, found, ignored, spelling, refiner, KnownConcepts.of(tree, known))


def _foreign(word: str, lexicon: Lexicon) -> bool:
    """Whether a word that meant nothing here is known from another language alone."""
    plain = fold(word.lower())
    return len(plain) > 7 and plain in lexicon.vocabulary and plain not in lexicon.english


def _label(text: str, tree: KnowledgeTree) -> Target | None:
    """The target of a dataset's label name ("kidney_left")."""
    if not _LABEL.fullmatch(text.strip()):
        return None
    try:
        return tree.resolve_label(text.strip())
    except PromptError:
        return None


def _plain(target: Target, tree: KnowledgeTree) -> PromptTarget:
    concept = tree.concept(target.concept)
    return PromptTarget(target.concept, target.side, codes=concept.codes)


def _read(
    spelling: Spelling, lexicon: Lexicon, refiner: Refiner
) -> tuple[list[PromptTarget], list[str]]:
    found: list[PromptTarget] = []
    ignored: list[str] = []
    items = told(asked_for(tag(spelling.tokens, lexicon), lexicon), lexicon)
    items = with_sides(with_counterparts(items, lexicon), lexicon)
    items = below_sides(only_asked(items, lexicon), lexicon)
    items = within_areas(items, lexicon)
    items = under_headings(said_in_full(items, lexicon), lexicon)
    for sentence in chunk(without_sound_clauses(items, lexicon), lexicon):
        nodes, unknown = nodes_of(_with_size_only(sentence), refiner)
        ignored += [*sentence.ignored, *unknown]
        linked = Linker(nodes, refiner, sentence.closed).link()
        targets = [target for node in linked for target in targets_of(node, refiner)]
        found += completed(targets, sentence.items, refiner)
    return found, ignored


def _sensible(found: list[PromptTarget], ignored: Sequence[str]) -> list[PromptTarget]:
    """Nothing for "the quux grindle thing", whose words nobody knows."""
    strange = any(not is_everyday(word.lower()) for word in ignored if word.isalpha())
    plain = all(target.concept == "structure" and not target.container for target in found)
    return [] if strange and plain and not any(t.size_mm or t.order for t in found) else found


def _with_size_only(sentence: Sentence) -> list[Phrase]:
    """The phrases of a sentence; a bare size ("> 3 cm") stands for any structure of that size."""
    unknown = any(not is_everyday(w.lower()) for w in sentence.ignored if w.isalpha())
    if sentence.phrases or not sentence.leftover.sizes or unknown or sentence.ignored[1:]:
        return sentence.phrases
    words = sentence.leftover
    return [Phrase([Mention((), "structure", True, text="")], set(), words)]


def _result(
    text: str,
    found: list[PromptTarget],
    ignored: Sequence[str],
    spelling: Spelling,
    refiner: Refiner,
    known: KnownConcepts | None,
) -> ParsedPrompt:
    if known is not None:
        found = [replace(target, known_to_model=known.covers(target)) for target in found]
    found = list(dict.fromkeys(found))
    negated = tuple(target for target in found if target.certainty == "negated")
    others = tuple(target for target in found if target.certainty != "negated")
    status: Status = "ok"
    if spelling.side_like or not found:
        others, negated, status = (), (), "unknown"
    elif not others:
        others, status = negated, "negated"
    elif all(target.certainty == "uncertain" for target in others):
        status = "uncertain"
    hint = _hint(text, status, ignored, spelling, refiner)
    return ParsedPrompt(text, status, others, negated, spelling.corrections, hint, tuple(ignored))


def _alike(text: str, names: Iterable[str]) -> tuple[str, list[str]]:
    """The text, short and plain, and the names that share a word or its beginning with it."""
    plain = " ".join(text.lower().split())[:60]
    words = {word for word in plain.split(" ") if len(word) > 3}
    return plain, [
        name for name in names if name[:2] == plain[:2] or not words.isdisjoint(name.split(" "))
    ]


def _hint(
    text: str, status: Status, ignored: Sequence[str], spelling: Spelling, refiner: Refiner
) -> str | None:
    parts = [
        f"{word!r} looks like {side!r}; a side must be spelled out"
        for word, side in spelling.side_like
    ]
    parts += [
        f"{word!r} could be {' or '.join(map(repr, choices[:4]))}; write out which"
        for word, choices in spelling.ambiguous
    ]
    if status == "unknown" and not parts:
        near = did_you_mean(*_alike(text, refiner.tree.forms))
        parts.append(f"no structure or finding was recognised{near}")
    elif ignored and status != "unknown":
        parts.append(f"not understood and left out: {', '.join(map(repr, ignored[:6]))}")
    if status == "negated":
        parts.append("the prompt denies what it names, so there is nothing to segment")
    return "; ".join([*parts, *dict.fromkeys(refiner.notes)]) or None
