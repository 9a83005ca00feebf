"""Entries as catalogues have them, the whole before the part: "pancreas, tail", "femur (neck)".

Also with the side apart ("femur, left, neck") or with what was found there ("kidney / stone").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textseg3d.text.grammar.lexicon import Lexicon, Match
from textseg3d.text.grammar.phrases import cue_table
from textseg3d.text.grammar.tokens import Token
from textseg3d.text.knowledge import Concept, Form, Target

_ENDS = frozenset((".", ";", "?", "!", "\n"))
_APART = frozenset((",", ":", "/", "(", ")", ">", "|", "→"))
_SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
_SIDES |= {"both": "both", "bilateral": "both"}
_AND = frozenset(("and", "&", "+"))
_AREAS = ("region", "joint")
_ANYWHERE = frozenset(("cyst", "mass", "nodule", "lesion", "stone", "fracture", "metastasis"))
_ANYWHERE |= {"abscess", "tumor", "calcification", "hemorrhage", "hematoma", "fluid collection"}
_LONGEST = 5  # words of a part

Piece = list[Token]


def as_named(tokens: Sequence[Token], lexicon: Lexicon) -> list[Token]:
    """The tokens; an entry from the whole to the part becomes the part's name."""
    tokens = _each_with_a_colon(_sides_first(tokens, lexicon), lexicon)
    result: list[Token] = []
    start = 0
    for at, token in enumerate(tokens):
        if token.norm in _ENDS and not (at and tokens[at - 1].norm in _SIDES):
            heads = any(other.norm not in _ENDS for other in tokens[at:])
            result += [*_entry(tokens[start:at], lexicon, heads), token]
            start = at + 1
    return [*result, *_entry(tokens[start:], lexicon)]


def _each_with_a_colon(tokens: Sequence[Token], lexicon: Lexicon) -> list[Token]:
    """Reads "left kidney (cyst), right kidney (stone)" as "left kidney: cyst; right kidney: …"."""
    groups: list[list[Token]] = [[]]
    for token in tokens:
        if token.norm in (",", ";", "and"):
            groups.append([])
        else:
            groups[-1].append(token)
    read = [_heading(group, lexicon) for group in groups]
    if len(groups) < 2 or not all(read):
        return list(tokens)
    last = [tokens[-1]] if tokens[-1].norm == "." else []
    between = tokens[0]._replace(kind="mark", norm=";", raw=";")
    return [t for at, one in enumerate(read) for t in [*[between] * (at > 0), *one]] + last


def _heading(group: Sequence[Token], lexicon: Lexicon) -> list[Token]:
    """The group with a colon between its structure and what is found there; empty if it is none."""
    mark = next((at for at in range(1, len(group)) if _parts(group, at)), 0)
    _, whole, _ = _sided(group[:mark])
    match = lexicon.match(whole, 0) if whole and group[mark].norm != ":" else None
    told = [token for token in group[mark + 1 :] if token.norm not in (")", ".")]
    if match is None or match.end != len(whole) or lexicon.is_finding(match) or not told:
        return []
    if any(token.kind == "mark" for token in told) or not _finds(told, lexicon):
        return []
    return [*group[:mark], group[mark]._replace(kind="mark", norm=":", raw=":"), *told]


def _finds(words: Sequence[Token], lexicon: Lexicon) -> bool:
    """Whether a finding, or a general word for one, is among some words."""
    for at in range(len(words)):
        match, cue = lexicon.match(words, at), cue_table().match(words, at)
        if lexicon.is_tail(words[at].norm):
            return True
        if (match is not None and lexicon.is_finding(match)) or (cue and cue[1].kind == "generic"):
            return True
    return False


def _sides_first(tokens: Sequence[Token], lexicon: Lexicon) -> list[Token]:
    """Reads "hepatic left lobe" as "left hepatic lobe"."""
    result = list(tokens)
    for at in range(1, len(result) - 1):
        adjective, side, noun = result[at - 1 : at + 2]
        if side.norm not in ("left", "right") or {adjective.kind, noun.kind} != {"word"}:
            continue
        if not _describes_a_place(lexicon.get(adjective.norm), lexicon):
            continue
        name = f"{adjective.norm} {noun.norm}"
        if lexicon.named(name) or lexicon.named(f"{side.norm} {name}"):
            result[at - 1 : at + 1] = [side, adjective]
    return result


def _describes_a_place(forms: Sequence[Form], lexicon: Lexicon) -> bool:
    adjective = bool(forms) and all(form.source == "adjective" for form in forms)
    return adjective and lexicon.tree.concept(forms[0].concept).kind == "anatomy"


def _entry(tokens: Sequence[Token], lexicon: Lexicon, heads: bool = False) -> Sequence[Token]:
    """A sentence, as the name that it stands for; ``heads`` says that more may stand below it."""
    marks = [at for at in range(1, len(tokens)) if _parts(tokens, at)]
    said = [tokens[at].norm for at in marks]
    if not marks or (said.count(":") > 1 and len(set(said)) > 1):
        return tokens  # "RUL: nodule, LLL: consolidation" is a list of entries
    pieces = list(_pieces(tokens, [-1, *marks]))
    worded = [at for at, piece in enumerate(pieces) if _sided(piece)[1]]
    if worded[:1] != [0]:
        return tokens
    found = [_finds(pieces[at], lexicon) for at in worded[1:]]
    if said[0] == ":" and ((found[1:] and all(found)) or (heads and any(found))):
        return tokens  # a heading: "Kidneys: cyst, stone"
    if len(worded) == 2 and _has_no_name(pieces[0], lexicon):  # "tail - pancreas"
        pieces[0], pieces[worded[1]] = pieces[worded[1]], pieces[0]
    side, whole, behind = _sided(pieces[0])
    match = lexicon.match(whole, 0) if not (side and behind) else None
    if match is None or match.end != len(whole) or match.sides or lexicon.is_finding(match):
        return tokens
    sides = [s for s in (side or behind,) if s]
    parts: list[str] = []
    for at, piece in enumerate(pieces[1:], 1):
        own, words, last = _sided(piece)
        rest = [token for one in pieces[at:] for token in (_comma(one[0]), *one)]
        if not words:
            sides += [own] if own else []
        elif parts:
            return _written(tokens, sides, parts, rest)
        else:
            only = len(worded) == 2
            parts = _names(piece, match, lexicon, only)  # "left lobe": the side is its name's
            if not parts:
                parts = _names(words, match, lexicon, only)
                parts = parts or (_within(words, match, lexicon) if only else [])
                sides += [s for s in (own, last) if s]
            if not parts:
                return tokens
    return _written(tokens, sides, parts, [])


def _has_no_name(piece: Sequence[Token], lexicon: Lexicon) -> bool:
    """Whether a piece names nothing by itself, or a region that may be a part, too ("head")."""
    words = _sided(piece)[1]
    forms = lexicon.get(" ".join(token.norm for token in words))
    return not forms or lexicon.tree.concept(forms[0].concept).name in ("head", "neck", "body")


def _written(
    tokens: Sequence[Token], sides: Sequence[str], parts: Sequence[str], rest: Sequence[Token]
) -> Sequence[Token]:
    """The parts with the one side, and what stands behind; as it was, if there is no such part."""
    if not parts or len(set(sides)) > 1:
        return tokens
    lead = sides[0] if sides else ""
    each = [p.replace(" in ", f" in {lead} ") if " in " in p else f"{lead} {p}" for p in parts]
    words = " and ".join(each).split()
    named = [tokens[0]._replace(kind="word", norm=word, raw=word) for word in words]
    return [*named, *rest]


def _comma(token: Token) -> Token:
    return token._replace(kind="mark", norm=",", raw=",")


def _parts(tokens: Sequence[Token], at: int) -> bool:
    """Whether a mark stands between the pieces of an entry."""
    before, token = tokens[at - 1 : at + 1]
    if token.norm in ("-", "/") and before.end == token.start:
        return token.norm == "/" and before.norm.isalpha()  # "L5/S1"
    return token.norm in _APART or token.norm == "-"


def _pieces(tokens: Sequence[Token], marks: Sequence[int]) -> Iterator[Piece]:
    for start, end in zip(marks, [*marks[1:], len(tokens)], strict=True):
        if end > start + 1:
            yield list(tokens[start + 1 : end])


def _sided(piece: Sequence[Token]) -> tuple[str, Piece, str]:
    """Side before, words, side behind."""
    words = [token for token in piece if token.norm not in (".", "the")]
    before = _SIDES.get(words[0].norm, "") if words else ""
    words = words[1:] if before else words
    behind = _SIDES.get(words[-1].norm, "") if words else ""
    return before, words[:-1] if behind else words, behind


def _names(piece: Sequence[Token], whole: Match, lexicon: Lexicon, only: bool) -> list[str]:
    """What the words of a piece are parts of the whole; empty if any of them is none.

    ``only`` says that there is nothing else: "lung, airway, heart" is a list.
    """
    parts: list[list[str]] = [[]]
    for token in piece:
        if token.norm in _AND:
            parts.append([])
        else:
            parts[-1].append(token.norm)
    if any(len(words) > _LONGEST for words in parts):
        return []
    names = [_name(" ".join(words), whole, lexicon, only) for words in parts]
    return [n for n in names if n] if all(names) else []


def _name(part: str, whole: Match, lexicon: Lexicon, only: bool) -> str | None:
    tree = lexicon.tree
    concept, alone = tree.concept(whole.forms[0].concept), lexicon.get(part)
    own = tree.concept(alone[0].concept) if alone and alone[0].source != "adjective" else None
    vertebra = _is_of(concept, "vertebrae", lexicon)
    if not part or (vertebra and any(c.isdigit() for c in part)):
        return None  # "L1, L2" are no disc
    adjectives = [f"{adjective} {part}" for adjective in concept.adjectives]
    for name in (f"{part} of {whole.surface}", f"{whole.surface} {part}", *adjectives):
        forms = lexicon.named(name)
        if not forms:
            continue
        made = tree.concept(forms[0].concept)
        if own is None or own.category == "region" or _narrows(made, own, lexicon):
            return name
        elsewhere = own.region != concept.region and bool(lexicon.get(name))
        if own.kind == "anatomy" and (elsewhere or (only and made is own)):
            return name  # the cortex of a kidney, which alone is the brain's
    if vertebra and own is not None and (part == "body" or _is_of(own, "vertebrae", lexicon)):
        return f"{part} of {whole.surface}"
    if own is not None and own.kind == "finding" and _may_hold(concept, own, lexicon):
        return f"{part} in {whole.surface}"
    return None


def _may_hold(concept: Concept, finding: Concept, lexicon: Lexicon) -> bool:
    """Whether a finding can lie in a structure, as far as the tree says."""
    places = [lexicon.tree.concept(name) for name in finding.containers]
    inside = any(concept is p or _is_of(p, concept.name, lexicon) for p in places)
    inside |= any(_is_of(concept, p.name, lexicon) for p in places)
    anywhere = not places or finding.name in _ANYWHERE
    return concept.category not in _AREAS and (inside or anywhere)


def _narrows(made: Concept, own: Concept, lexicon: Lexicon) -> bool:
    """Whether a name with its whole is narrower than without: the vein of a kidney."""
    cavity = made.kind == "anatomy" and own.kind == "finding"
    return cavity or (made.name != own.name and _is_of(made, own.name, lexicon))


def _is_of(concept: Concept | None, name: str, lexicon: Lexicon) -> bool:
    ancestors = lexicon.tree.ancestors(Target(concept.name, None)) if concept is not None else ()
    return any(target.concept == name for target in ancestors)


def _within(words: Sequence[Token], area: Match, lexicon: Lexicon) -> list[str]:
    """The name of a paired structure that lies in an area: the talus of "ankle, right: talus"."""
    name = " ".join(token.norm for token in words)
    forms = lexicon.get(name)
    whole = lexicon.tree.concept(area.forms[0].concept)
    if not forms or whole.category not in _AREAS or forms[0].side is not None:
        return []
    one = lexicon.tree.concept(forms[0].concept)
    paired = one.kind == "anatomy" and one.side_rule == "paired" and one.category not in _AREAS
    return [name] if paired and one.region == whole.region else []
