"""Tokens to items: names of the tree, sides, sizes, cues, connectors, and words not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar import canon
from textseg3d.text.grammar.earlier import is_past
from textseg3d.text.grammar.inverted import inverted, predicated
from textseg3d.text.grammar.items import Item, shared_fronts, shared_heads, unsided
from textseg3d.text.grammar.lexicon import Lexicon, Match
from textseg3d.text.grammar.numbers import Quantity, find_quantities
from textseg3d.text.grammar.phrases import Cue, cue_table
from textseg3d.text.grammar.pieces import cut_short, shared_whole, without_pieces
from textseg3d.text.grammar.tokens import Token, fold
from textseg3d.text.grammar.words import DETERMINERS, SENTENCE_ENDS, read_tables
from textseg3d.text.knowledge import Form, normalise
from textseg3d.text.knowledge.forms import pluralise

_NUMBERED = frozenset(
    (
        "series",
        "image",
        "images",
        "im",
        "se",
        "slice",
        "slices",
        "img",
        "ser",
        "acc",
        "grade",
        "type",
    )
)
_TIMES = frozenset(
    ("month", "months", "week", "weeks", "year", "years", "day", "days", "hours", "yo", "%", "hu")
)
_BETWEEN = frozenset(("filler", "neg_attr", "attr"))
_ENTIRE = frozenset(("entire", "whole", "complete", "full", "total"))
_DESCRIBES = ("ed", "ous", "otic", "renal")
_ABOVE = frozenset(("suprarenal", "infrarenal", "pararenal"))
_STRONG = frozenset(
    ("side", "in", "and", "or", "but", "without", "exclude", "be", "neg_pre", "neg_post", "near")
)


def tag(tokens: Sequence[Token], lexicon: Lexicon) -> list[Item]:
    """Items for all ``tokens``, in order; the longest reading wins at each place."""
    quantities = {quantity.start: quantity for quantity in find_quantities(tokens)}
    cues = cue_table()
    items: list[Item] = []
    at = 0
    whole: tuple[int, str] | None = None
    marks = {token.norm for token in tokens if token.kind == "mark"}
    while at < len(tokens):
        quantity = quantities.get(at)
        match = lexicon.match(tokens, at)
        turned = inverted(tokens, at, lexicon) if marks & {",", "("} else None
        if turned is not None and (match is None or turned.end > match.end):
            match = turned
        turned = predicated(tokens, at, lexicon)
        if turned is not None and (match is None or turned.end > match.end):
            match = turned
        if match is not None and (cut_short(tokens, match) or _commands(tokens, at, items)):
            match = None
        if match is not None and tokens[match.end - 1].norm[:1].isdigit():
            sized = next((q for q in quantities.values() if at < q.start < match.end < q.end), None)
            if sized is not None:  # "segment the 4 mm stone"
                match = lexicon.match(tokens[: sized.start], at)
        led = lexicon.side_of(fold(tokens[at].norm)) or tokens[at].norm in _ENTIRE
        if match is not None and led and at + 1 < len(tokens):
            after = lexicon.match(tokens, at + 1)
            if after is not None and after.end > match.end:
                match = None  # "left upper lobe anterior segment" is not about the lobe
        if match is not None and _finding_inside(tokens, at, match, lexicon):
            match = lexicon.match(tokens[: at + 1], at)
        if match is not None and lexicon.is_finding(match):
            if whole is None or whole[0] != match.end:
                whole = match.end, match.forms[0].concept
            match = apart(tokens, at, match, lexicon)
        shared = _shared_front(items, tokens[at : at + 2], match, at, lexicon)
        if shared is None:
            shared = shared_whole(tokens, at, match, lexicon)
        if shared is not None and quantity is None:
            match = shared
        cue = cues.match(tokens, at) if match is not shared or shared is None else None
        if cue is not None:
            cue = _shortened(cue, at, quantities, tokens)
        if quantity is not None and (match is None or match.end <= quantity.end):
            kind = "size" if quantity.unit == "mm" else "volume"
            if is_past(tokens, quantity.start, quantity.end):
                kind = "filler"
            items.append(Item(kind, quantity, _text(tokens, at, quantity.end)))
            at = quantity.end
        elif match is not None and (cue is None or _prefer(match, cue)):
            attr = cue[1].value if cue and cue[0] == match.end and cue[1].kind == "attr" else None
            specific = whole[1] if whole and whole[0] == match.end else None
            if match.sides and lexicon.is_finding(match):  # "elevated right hemidiaphragm"
                sides = list(dict.fromkeys(match.sides))
                said = "both" if len(sides) > 1 else sides[0]
                items.append(Item("side", said, said))
                match = match._replace(sides=())
            text = _text(tokens, at, match.end)
            plain = _unsided(match, text, lexicon)
            if plain is not None:  # "right renal cyst" is a name, too
                items.append(Item("side", match.forms[0].side, text.split(" ")[0]))
                match, text = plain, text.partition(" ")[2]
            items.append(Item("mention", match, text, attr, specific))
            at = match.end - _shared_word(tokens, at, match, lexicon)
            if any(q.start < at < q.end for q in quantities.values()):  # "pancreatic ca 2.7 cm"
                quantities = {q.start: q for q in find_quantities(tokens, at)}
        elif cue is not None:
            items.extend(_cue_items(cue[1], _text(tokens, at, cue[0])))
            at = cue[0]
            if any(q.start < at < q.end for q in quantities.values()):
                quantities = {q.start: q for q in find_quantities(tokens, at)}
        else:
            both = bool(items) and items[-1].kind == "side" and items[-1].value == "both"
            named = lexicon.match_sided(tokens, at, both) if tokens[at].kind == "word" else []
            if not named:
                at = _rest(tokens, at, items, lexicon)
                continue
            if both:
                items.pop()
            for number, one in enumerate(named):
                items.extend([Item("and", None, "and")] if number else [])
                items.append(Item("mention", one, _text(tokens, at, one.end)))
            at = named[0].end
    described = without_pieces(_describing(_likened(items, lexicon), lexicon), lexicon)
    return shared_fronts(shared_heads(_without_vague_heads(described, lexicon), lexicon), lexicon)


def _unsided(match: Match, text: str, lexicon: Lexicon) -> Match | None:
    """A finding without the side that its name begins with; None if that is part of what it is."""
    form, rest = match.forms[0], unsided(match.surface)
    concept = lexicon.tree.concept(form.concept)
    begins = fold(text.split(" ")[0]) == form.side and " " in text
    if (
        not begins
        or rest == match.surface
        or concept.kind != "finding"
        or concept.side_rule != "any"
    ):
        return None
    forms = tuple(f for f in lexicon.named(rest) if f.concept == form.concept and f.side is None)
    return match._replace(forms=forms[:1], surface=rest) if forms else None


def _finding_inside(tokens: Sequence[Token], at: int, match: Match, lexicon: Lexicon) -> bool:
    """Whether a finding begins within a place: "supraclavicular brown fat uptake"."""
    end = match.end
    if end - at < 3 or end >= len(tokens) or not lexicon.is_tail(fold(tokens[end].norm)):
        return False
    after = lexicon.match(tokens, at + 1)
    return after is not None and after.end > end and lexicon.is_finding(after)


def _commands(tokens: Sequence[Token], at: int, items: Sequence[Item]) -> bool:
    """Whether "segment" begins a request ("please segment the …"), and no name ("segment 6")."""
    asked = all(item.kind in ("filler", "question", "determiner") for item in items)
    if not asked or tokens[at].norm not in ("segment", "contour") or at + 1 >= len(tokens):
        return False
    following = tokens[at + 1]
    roman = not set(following.norm.rstrip("ab")) - set("ivx")
    numbered = roman or any(c.isdigit() for c in following.norm)
    return not numbered and len(following.norm) > 2 and following.kind == "word"


def _shared_front(
    items: Sequence[Item], told: Sequence[Token], match: Match | None, at: int, lexicon: Lexicon
) -> Match | None:
    """Reads "renal artery and vein" as "renal artery and renal vein"."""
    token = told[0]
    listed = [item for item in items[-4:] if item.kind not in ("side", "determiner", "filler")]
    if len(listed) < 2 or listed[-1].kind not in ("and", "or") or listed[-2].kind != "mention":
        return None
    plain = token.norm in canon.ARTICLES | canon.PLACING or lexicon.side_of(fold(token.norm))
    if plain or token.kind != "word" or (match is not None and match.end > at + 1):
        return None
    whole = listed[-2].value.surface
    front = unsided(whole).split(" ")[:-1]
    name = " ".join([*front, token.norm])
    forms = lexicon.named(name) if front else ()
    if forms and forms[0].concept == listed[-2].value.forms[0].concept:
        return None  # "upper rectum and rectum"
    own = items[-1].kind == "side"  # "right renal cyst and left angiomyolipoma"
    if own and front[-1:] == ["of"]:
        return None  # "head of pancreas and left tibia"
    before = lexicon.tree.concept(listed[-2].value.forms[0].concept)
    placed = len(told) > 1 and told[1].norm in ("in", "of", "within", "at", "on")
    if placed and forms and before.kind == "anatomy" and _is_finding(forms, lexicon):
        return None  # "the thyroid gland and cyst in the kidney"
    if token.norm == "aorta" and before.category not in ("artery", "vein"):
        return None  # "adrenal gland and aorta", "abdominal wall and aorta"
    if forms and unsided(whole) != whole and not own:  # "left humeral head and shaft"
        side = lexicon.side_of(whole.split(" ")[0])
        forms = tuple(f._replace(side=side) if f.side is None else f for f in forms)
    return Match(at + 1, forms, (), name) if forms else None


def _is_finding(forms: Sequence[Form], lexicon: Lexicon) -> bool:
    return lexicon.tree.concept(forms[0].concept).kind == "finding"


def _without_vague_heads(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "DJ stent" and "tree-in-bud nodularity" as what their first word names."""
    vague = read_tables("closed")["generic"]
    result: list[Item] = []
    for item in items:
        last = result[-1] if result else None
        if last is not None and last.kind == "mention" and lexicon.is_finding(last.value):
            named = last.value.forms[0]
            general = item.kind == "generic" or (
                item.kind == "mention" and item.value.forms[0].concept in vague
            )
            if general and named.concept not in vague and named.source != "adjective":
                continue
        result.append(item)
    return result


def _shared_word(tokens: Sequence[Token], at: int, match: Match, lexicon: Lexicon) -> int:
    """1 if a place ends in the word that a finding begins with: "L4-L5 disc protrusion"."""
    end = match.end
    if end - at < 2 or end >= len(tokens) or lexicon.is_finding(match):
        return 0
    if lexicon.match(tokens, end) is not None or cue_table().match(tokens, end) is not None:
        return 0
    after = lexicon.match(tokens, end - 1)
    return int(after is not None and after.end > end and lexicon.is_finding(after))


def _likened(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "CSF-like cyst" and "ulcerated skin carcinoma" as the cyst and the carcinoma."""
    result = list(items)
    for at, item in enumerate(items[:-1]):
        if item.kind != "mention":
            continue
        following, behind = items[at + 1], items[at + 2].kind if at + 2 < len(items) else ""
        further = at + 1  # "thrombosed left popliteal artery aneurysm"
        while further + 1 < len(items) and items[further].kind == "side":
            further += 1
        place = items[further]
        if place.kind == "mention" and not lexicon.is_finding(place.value):
            further = min(further + 1, len(items) - 1)
        if items[further].kind == "mention" and lexicon.is_finding(items[further].value):
            following = items[further]
        like = following.kind != "mention" and following.text.lower() == "like"
        if like and behind in ("mention", "generic", "tail", "attr", "side"):
            result[at : at + 2] = [replace(one, kind="filler") for one in (item, following)]
        elif following.kind == "mention" and item.text.lower().endswith(_DESCRIBES):
            kinds = [lexicon.tree.concept(i.value.forms[0].concept) for i in (item, following)]
            own, named = kinds
            if " " not in item.text and own.kind == named.kind == "finding":
                result[at] = Item("attr", ("shape", item.text.lower()), item.text)
            elif item.text.lower() in _ABOVE and named.category in ("vein", "artery", "vessel"):
                result[at] = Item("attr", ("position", item.text.lower()), item.text)
    return result


def _told_behind(items: Sequence[Item], at: int, lexicon: Lexicon) -> bool:
    """Whether a participle behind a comma tells how a finding looks: "plaques, calcified"."""
    behind = items[at + 1].kind if at + 1 < len(items) else "stop"
    before = items[at - 1].kind if at else ""
    sized = behind == "comma" and [i.kind for i in items[at + 2 : at + 3]] == ["size"]
    alone = before == "comma" and (sized or behind in ("stop", "but"))
    alone = alone and items[at].text.endswith("ed")
    return alone and any(i.kind == "mention" and lexicon.is_finding(i.value) for i in items[:at])


def _describing(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads names that also describe ("dilated") as such before a name and after "is"."""
    result = list(items)
    for at, item in enumerate(items):
        if item.attr is None:
            continue
        behind = [i.kind for i in items[_row_end(items, at) :] if i.kind not in (*_BETWEEN, "side")]
        after = behind[0] if behind else ""  # "fusiform right carotid aneurysm"
        before = next((i.kind for i in reversed(items[:at]) if i.kind not in _BETWEEN), "")
        if after in ("mention", "generic") or before == "be" or _told_behind(items, at, lexicon):
            result[at] = Item("attr", item.attr, item.text)
    return result


def _row_end(items: Sequence[Item], at: int) -> int:
    """Index behind the describing words listed from ``at`` on: "lytic or blastic"."""
    end = at + 1
    while (
        end + 1 < len(items) and items[end].kind in ("and", "or") and items[end + 1].kind == "attr"
    ):
        end += 2
    return end


_INHERENT = ("position", "aspect", "chronicity")


def apart(tokens: Sequence[Token], at: int, match: Match, lexicon: Lexicon) -> Match | None:
    """A finding's name without its describing word or its place; the rest is read on its own.

    "calcified pulmonary nodule" is the describing word "calcified" and "pulmonary nodule" (None
    is returned for the word to be read first), "cyst in the kidney" is "cyst" and a place. So
    "non-calcified nodule" and "cyst in the left kidney" are read in the same way as others.
    """
    for place in range(at + 1, match.end - 1):
        if tokens[place].norm in canon.PLACING:
            head = lexicon.match(tokens[at:place], 0)
            generic = cue_table().match(tokens[at:place], 0)
            start = place + 1
            while start < match.end - 1 and _passed_over(tokens[start], lexicon):
                start += 1
            where = lexicon.match(tokens, start)
            if where is None or where.end < match.end or lexicon.is_finding(where):
                continue  # a longer one is cut: "lesion of the neck" of the gallbladder
            if head is not None and at + head.end == place and lexicon.is_finding(head):
                return head._replace(end=place)
            if generic is not None and generic[1].kind == "generic" and at + generic[0] == place:
                return None
    cue = cue_table().match(tokens[at : match.end - 1], 0) if match.end - at > 1 else None
    if cue is None or cue[1].kind != "attr":
        return match
    if cue[1].value[0] in _INHERENT:
        return None if _says_more(tokens, at + cue[0], match, lexicon) else match
    first = at + cue[0]
    while first < match.end - 1 and lexicon.side_of(fold(tokens[first].norm)) is not None:
        first += 1
    rest = lexicon.match(tokens, first)
    thing = lexicon.match(tokens[: match.end], first)
    part = thing is not None and thing.end == match.end and not lexicon.is_finding(thing)
    if part and rest is not None and rest.end > match.end and lexicon.is_finding(rest):
        return None  # "dilated left ureter stone"
    if rest is None or rest.end != match.end or not _is_head(rest, lexicon):
        return match
    if not lexicon.is_finding(rest) and cue[1].value[0] != "extent":
        return match  # a "necrotic lymph node" is a finding, a "large lymph node" need not be
    if rest.surface in ("lesion", "lesions"):
        return match  # without "lytic", "lesion" says nothing
    for end in range(at + cue[0] + 1, match.end):
        other = lexicon.match(tokens[at:end], 0)
        if other is not None and at + other.end == end and not lexicon.is_finding(other):
            return match  # "small bowel" in "small bowel obstruction"
    return None


def _says_more(tokens: Sequence[Token], first: int, match: Match, lexicon: Lexicon) -> bool:
    """Whether a vague name is less than its own end says: "suspicious bone lesion"."""
    vague = read_tables("closed")["generic"]
    rest = lexicon.match(tokens, first) if match.forms[0].concept in vague else None
    full = rest is not None and rest.end == match.end and lexicon.is_finding(rest)
    return full and rest is not None and rest.forms[0].concept not in vague


def _is_head(rest: Match, lexicon: Lexicon) -> bool:
    """Whether a name may stand alone: "opacity" is too vague a synonym to be taken from a name."""
    name = rest.forms[0].concept
    return " " in rest.surface or rest.surface in (normalise(name), normalise(pluralise(name)))


def _passed_over(token: Token, lexicon: Lexicon) -> bool:
    return token.norm in ("the", "a", "an") or lexicon.side_of(fold(token.norm)) is not None


def _prefer(match: Match, cue: tuple[int, Cue]) -> bool:
    """Whether a name is taken rather than a closed-class phrase at the same place."""
    if match.end != cue[0]:
        return match.end > cue[0]
    return cue[1].kind not in _STRONG


def _shortened(
    cue: tuple[int, Cue], at: int, quantities: dict[int, Quantity], tokens: Sequence[Token]
) -> tuple[int, Cue] | None:
    """A cue that would run into a size ("no larger than 5 mm") gives way to the size."""
    for start in range(at + 1, cue[0]):
        if start in quantities and cue[1].kind == "exclude" and start == cue[0] - 1:
            return cue  # "apart from a 7 mm nodule"
        if start in quantities:
            return cue_table().match(tokens[:start], at)
    if cue[1].kind == "exclude" and tokens[cue[0] - 1].norm == "not":
        after = cue_table().match(tokens, cue[0] - 1)
        if after is not None and after[1].kind in ("neg_post", "unc_post", "unc_pre", "neg_pre"):
            return cue_table().match(tokens[: cue[0] - 1], at)  # "looked for but not found"
    return cue


def _cue_items(cue: Cue, text: str) -> list[Item]:
    if cue.kind == "sided_attr":
        return [Item("side", "both", text), Item("attr", ("position", cue.value), text)]
    if cue.kind == "size":
        return [Item("size", Quantity(0, 0, "mm", cue.value), text)]
    if cue.kind == "filler" and text.lower() in DETERMINERS | {"there is a", "there is an"}:
        return [Item("determiner", None, text)]
    return [Item(cue.kind, cue.value, text)]


def _rest(tokens: Sequence[Token], at: int, items: list[Item], lexicon: Lexicon) -> int:
    """Items for what neither a table nor the tree knows; returns the next index."""
    token = tokens[at]
    following = tokens[at + 1].norm if at + 1 < len(tokens) else ""
    if token.kind == "number":
        before = fold(tokens[at - 1].norm) if at else ""
        listed = not items or items[-1].kind == "stop"
        if is_past(tokens, at, at + 1):
            items.append(Item("filler", None, token.raw))
            return at + 1
        behind = (listed and following in (".", ")")) or following in _TIMES
        if behind or before in _NUMBERED:
            items.append(Item("filler", None, token.raw))
            return at + 1 + behind
        whole = token.raw.isdigit() and 0 < int(token.raw[:6]) <= 50
        items.append(
            Item("count" if whole else "unknown", _count(token) if whole else None, token.raw)
        )
        return at + 1
    kinds = {",": "comma", "(": "comma", ")": "comma", "[": "comma", "]": "comma", ":": "colon"}
    kinds |= {"-": "comma", "/": "and", "?": "question_mark", "|": "comma", "？": "question_mark"}
    if token.kind == "mark":
        if token.norm in (";", "；"):
            items.append(Item("but", None, token.raw))
        elif token.norm in SENTENCE_ENDS:
            items.append(Item("stop", None, token.raw))
        elif (token.norm == "-" and _heads(tokens, at, items)) or (
            token.norm == "=" and items and following[:1].isalpha()
        ):
            items.append(Item("colon", None, token.raw))
        elif token.norm in kinds:
            items.append(Item(kinds[token.norm], None, token.raw))
        elif token.norm in ("<", ">", "<=", ">="):
            items.append(Item("compare", None, token.raw))
        return at + 1
    kind = "filler" if token.norm in _NUMBERED else "unknown"
    if kind == "unknown" and lexicon.is_tail(fold(token.norm)):
        kind = "tail"
    items.append(Item(kind, None, token.raw))
    return at + 1


def _heads(tokens: Sequence[Token], at: int, items: Sequence[Item]) -> bool:
    """Whether a dash stands behind the first, sided name of a text: "RIGHT WRIST - lunate"."""
    if at == 0 or at + 1 >= len(tokens) or tokens[at].start == tokens[at - 1].end:
        return False
    names = [item for item in items if item.kind not in ("filler", "determiner")]
    sided = len(names) == 2 and names[0].kind == "side" and names[1].kind == "mention"
    whole = len(names) == 1 and names[0].kind == "mention" and names[0].value.sides
    return sided or bool(whole)


def _count(token: Token) -> tuple[int, int | None]:
    return int(token.raw), int(token.raw)


def _text(tokens: Sequence[Token], start: int, end: int) -> str:
    return " ".join(token.raw for token in tokens[start:end])
