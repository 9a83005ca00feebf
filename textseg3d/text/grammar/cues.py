"""Cues of negation, uncertainty and time (in the manner of NegEx), and describing words."""

from __future__ import annotations

from itertools import product

_ADJECTIVES = ("", "definite ", "clear ", "convincing ", "obvious ", "ct ", "imaging ", "new ")
_SIGNS = ("evidence of", "evidence for", "sign of", "signs of", "indication of", "suggestion of")
_CANNOT = ("cannot", "can not", "can't", "could not", "couldn't", "may not", "cannot entirely")
_CANNOT += ("cannot definitely", "cannot be", "can not be", "can't be", "could not be")
_RULE_OUT = ("exclude", "rule out", "excluded", "ruled out", "entirely excluded")
_RULE_OUT += ("completely excluded", "be excluded", "be ruled out")
_SEEN = ("seen", "visible", "visualized", "visualised", "identified", "present", "detected")
_SEEN += ("demonstrated", "found", "noted", "evident", "observed", "appreciated", "shown")

CUES = {
    "neg_pre": "no | absence of | lack of | negative for | free of | free from | clear of | denies"
    " | never | never any | none of | neither | rules out | excludes | nothing to suggest"
    " | no longer | resolution of | interval resolution of | resolved | removal of"
    " | no filling defect to suggest | no findings to suggest | no findings of | not any | not a"
    " | not a single | not one | kein | keine | keinen | keiner | keinem | kein nachweis von"
    " | kein hinweis auf | kein anhalt für | pas de | pas d | aucun | aucune | absence d"
    " | absence de | no hay | ningún | ninguna | ausencia de | 无 | 没 有 | 未 见 | 未 发 现",
    "neg_post": "ruled out | has been ruled out | have been ruled out | is ruled out | excluded"
    " | was excluded | is excluded | has been excluded | none | none seen | negative"
    " | has resolved | have resolved | has disappeared | have disappeared | has cleared | resolved"
    " | is absent | are absent | gone | is gone | surgically absent | is surgically absent"
    " | no longer there | is not there | was removed | has been removed"
    " | nicht nachweisbar | nicht vorhanden | non visible | no visible | 已 消 失",
    "neg_any": "absent | surgically absent | missing",
    "unc_pre": "possible | possibly | may represent | may be | might be | could be | could represent"
    " | might represent | perhaps | maybe | probable | probably | likely | most likely | presumed"
    " | presumably | presumptive | suspicious for | suspicion of | suspicion for | suspect"
    " | concern for | concerning for | worrisome for | suggestive of | suggesting | suggests"
    " | questionable | question of | query | equivocal | evaluate for | assess for | rule out | r / o"
    " | to exclude | versus | vs | there may be | there might be | there could be | differential"
    " | apparent | verdacht auf | v a | fraglich | fragliche | fraglicher | mögliche | möglicher"
    " | möglich | vermutlich | wahrscheinlich | suspicion d | suspicion de | posible | sospecha de"
    " | probables | 可 能 | 疑 似 | 怀 疑",
    "unc_post": "not excluded | is not excluded | not ruled out | is not ruled out | is possible"
    " | is suspected | are suspected | is likely | is questionable | is questioned | are possible"
    " | not entirely excluded | is uncertain | nicht ausgeschlossen | nicht auszuschließen"
    " | 不 除 外 | 不 能 排 除",
    "unc_any": "suspected | uncertain | doubtful | hypothetical",
    "neg_attr": "not | non | nicht | pas",
    "change": "change | changes | interval change | increase | decrease | growth | progression"
    " | enlargement of | enlargement | interval increase | interval growth",
    "compare": "greater than | larger than | more than | less than | smaller than | bigger than",
    "historical": "history of | prior history of | status post | s / p | remote history of"
    " | known history of | zustand nach",
}
CUES["neg_pre"] += "".join(f" | no {a}{s}" for a, s in product(_ADJECTIVES, _SIGNS))
CUES["neg_pre"] += "".join(f" | not {s}" for s in ("seeing", "see any"))
CUES["neg_post"] += "".join(
    f" | {a}{s}"
    for a, s in product(
        ("not ", "is not ", "are not ", "was not ", "were not ", "no longer "), _SEEN
    )
) + "".join(f" | is no longer {s} | are no longer {s}" for s in _SEEN)
CUES["unc_cannot"] = " | ".join(f"{a} {s}" for a, s in product(_CANNOT, _RULE_OUT))

ATTRIBUTES = {
    "density": "solid | part solid | part - solid | subsolid | semisolid | mixed density"
    " | ground glass | nonsolid | calcified | noncalcified | calcific | hypodense | hyperdense"
    " | isodense | low density | high density | low attenuation | high attenuation | hypoattenuating"
    " | hyperattenuating | fatty | fat containing | cystic | cavitary | cavitating | cavitated"
    " | necrotic | hemorrhagic | air filled | fluid filled | dense | lytic | sclerotic | blastic"
    " | hyperintense | hypointense | isointense | gas containing | mucinous | simple | complex"
    " | complicated | proteinaceous | soft tissue | bright | dark | hypodens | hyperdens",
    "enhancement": "enhancing | nonenhancing | hypervascular | hypovascular | avid | rim enhancing"
    " | hypermetabolic | fdg avid | hyperenhancing | hypoenhancing | arterially enhancing"
    " | peripherally enhancing | contrast enhanced | unenhanced",
    "margin": "spiculated | smooth | lobulated | ill defined | well defined | circumscribed"
    " | well circumscribed | poorly defined | irregular | sharp | indistinct | fuzzy"
    " | smoothly marginated | infiltrative | encapsulated",
    "shape": "round | rounded | oval | ovoid | linear | wedge shaped | tubular | nodular | patchy"
    " | focal | diffuse | confluent | reticular | tree in bud | multifocal | loculated | layering"
    " | septated | exophytic | polypoid | pedunculated | bandlike | plate like | platelike"
    " | subsegmental | segmental | lobar | saccular | fusiform | elongated | flat | bulky"
    " | consolidative | multilocular | miliary | centrilobular | paraseptal | panlobular | traction"
    " | mass like | masslike | discoid | heterogeneous | homogeneous | obstructing | nonobstructing",
    "extent": "small | tiny | large | huge | big | moderate | moderate sized | mild | severe | minimal"
    " | trace | massive | minor | extensive | marked | slight | minute | sizable | giant"
    " | moderately | subtle | faint | thin | thickened | enlarged | unenlarged | borderline"
    " | pathologically enlarged | dilated | nondilated | distended | atrophic | collapsed | swollen"
    " | edematous | prominent | shrunken | ectatic | tortuous | hypertrophic | normal sized"
    " | moderate to large | small to moderate | kleiner | kleine | kleines | großer | große"
    " | großes | petit | petite | grand | grande | pequeño | pequeña | 小 | 大 | micro | bigger",
    "chronicity": "new | newly | stable | unchanged | chronic | acute | subacute | old | healed"
    " | increased | increasing | decreased | decreasing | progressive | improved | improving"
    " | worsened | worsening | growing | grown | regressing | persistent | previously seen"
    " | previously described | previously noted | previous | known | preexisting | recurrent"
    " | residual | evolving | has increased | has decreased | has grown | larger than before"
    " | smaller than before | increased in size | decreased in size | unverändert | neu | neuer"
    " | neue | nouveau | nouvelle | nuevo | nueva | stabil | similar",
    "aspect": "suspicious | benign | malignant | indeterminate | nonspecific | unremarkable | normal"
    " | abnormal | infectious | inflammatory | neoplastic | metastatic | primary | significant"
    " | incidental | typical | atypical | patent | clear | intact | physiologic | pathologic"
    " | postoperative | congenital | degenerative | symptomatic | dominant | definite | discrete"
    " | evidence | obvious | convincing | acceptable | within normal limits | appropriate | other",
    "position": "upper | lower | mid | middle | anterior | posterior | superior | inferior | medial"
    " | lateral | apical | basal | basilar | central | peripheral | subpleural | perihilar | dorsal"
    " | ventral | cranial | caudal | proximal | distal | subcapsular | juxtapleural | endobronchial"
    " | perifissural | dependent | nondependent | superficial | deep | paramediastinal | cortical"
    " | intrarenal | parapelvic | upper pole | lower pole | mid pole | interpolar | pole | base"
    " | bases | apex | tip | wall | rim | margin | half | third | quadrant | segment | segments"
    " | lung base | internal | external | inner | outer | adjacent | surrounding | nearby"
    " | anterolateral | posterolateral | anteromedial | posteromedial | retrocardiac | midline",
}

_EXTREME = {
    "superior": "superior | cranial | cephalad | upper",
    "inferior": "inferior | caudal | caudad | lower | basal",
    "anterior": "anterior | ventral | frontal",
    "posterior": "posterior | dorsal",
    "medial": "medial | central | mesial",
    "lateral": "lateral | peripheral",
}
ORDERS = {
    "largest": "largest | biggest | greatest | most voluminous | größte | größter | größtes"
    " | größten | plus grand | plus grande | más grande | mayor | 最 大 | dominant",
    "smallest": "smallest | tiniest | littlest | kleinste | kleinster | kleinstes | plus petit"
    " | plus petite | más pequeño | más pequeña | 最 小",
    "superior": "uppermost | topmost | highest | upmost | oberste | oberster | 最 上",
    "inferior": "lowest | lowermost | bottommost | bottom most | unterste | unterster | 最 下",
    "anterior": "foremost | frontmost | anteriormost | vorderste",
    "posterior": "rearmost | hindmost | posteriormost | backmost | hinterste",
    "medial": "innermost | medialmost",
    "lateral": "outermost | lateralmost",
    "left": "leftmost",
    "right": "rightmost",
    "densest": "densest | brightest | most dense | most calcified",
    "darkest": "darkest | least dense",
}
for _by, _words in _EXTREME.items():
    ORDERS[_by] += "".join(f" | most {word}" for word in _words.split(" | "))

RANKS = {
    1: "first | 1st",
    2: "second | 2nd | zweitgrößte | zweitgrößter | deuxième | segundo | segunda",
    3: "third | 3rd | third",
    4: "fourth | 4th",
    5: "fifth | 5th",
    6: "sixth | 6th",
    7: "seventh | 7th",
    8: "eighth | 8th",
    9: "ninth | 9th",
    10: "tenth | 10th",
    11: "eleventh | 11th",
    12: "twelfth | 12th",
}

COMPARISONS = {
    ">": "> | >= | larger than | greater than | bigger than | more than | over | above | exceeding"
    " | at least | minimum | min | minimum of | no smaller than | not smaller than | no less than"
    " | not less than | larger than or equal to | greater than or equal to | longer than | beyond"
    " | größer als | über | mindestens | plus de | plus grand que | supérieur à | au moins"
    " | mayor de | mayor que | más de | al menos | 大 于 | 超 过 | thicker than | wider than",
    "<": "< | <= | smaller than | less than | lesser than | below | under | up to | at most | maximum"
    " | max | maximum of | maximally | no larger than | not larger than | no more than"
    " | not more than | no greater than | not greater than | not exceeding | no bigger than"
    " | not bigger than | shorter than | fewer than | less than or equal to | measuring up to"
    " | smaller than or equal to | kleiner als | unter | bis zu | höchstens | moins de | inférieur à"
    " | jusqu' à | plus petit que | au plus | menor de | menor que | menos de | hasta | 小 于"
    " | thinner than",
    "~": "~ | about | approximately | approx | approx . | around | roughly | circa | ca | ca ."
    " | nearly | almost | some | etwa | environ | aproximadamente | estimated",
    "between": "between | from | zwischen | von | entre",
}
COMPARISONS_AFTER = {
    ">": "or larger | or greater | or more | or bigger | and larger | and above | and up | or above"
    " | and more | or longer | minimum | at least",
    "<": "or smaller | or less | and smaller | and below | or below | or fewer | or under | or shorter"
    " | maximum | at most",
}
UNITS_MM = {
    1.0: "mm | millimeter | millimeters | millimetre | millimetres | mms | milimeter | millimètres"
    " | millimètre | milímetro | milímetros | 毫 米",
    10.0: "cm | centimeter | centimeters | centimetre | centimetres | cms | zentimeter"
    " | centimètre | centimètres | centímetro | centímetros | 厘 米 | 公 分",
    0.001: "µm | um | micrometer | micrometre | micron | microns | μm",
    25.4: "inch | inches",
}
UNITS_ML = {
    1.0: "ml | milliliter | milliliters | millilitre | millilitres | cc | ccm | cm3 | cm³ | 毫 升",
    0.001: "mm3 | mm³",
    1000.0: "liter | liters | litre | litres",
}
SUBUNITS = {"subcentimeter": 10.0, "sub centimeter": 10.0, "submillimeter": 1.0}
