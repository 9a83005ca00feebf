"""Closed-class words of the grammar: sides, connectors, fillers (English first, then others).

Each table maps a kind and value to phrases; phrases are token norms joined by blanks, so marks
inside abbreviations stand alone ("r / o"). Accents may be left out by the writer.
"""

from __future__ import annotations

SIDES = {
    "left": (
        "left | l | lt | lft | leftsided | left sided | left side | left hand side | left - sided"
        " | sinister | sinistra | sinistrum | sinistri | sinistrae"
        " | links | linke | linker | linken | linkes | linkem | linksseitig | linksseitige"
        " | linksseitiger | linksseitiges | linksseitigen"
        " | gauche | gauches | à gauche | izquierdo | izquierda | izquierdos | izquierdas | izq"
        " | 左 | 左 侧 | 左 側"
    ),
    "right": (
        "right | r | rt | rgt | rightsided | right sided | right side | right hand side"
        " | right - sided | dexter | dextra | dextrum | dextri | dextrae"
        " | rechts | rechte | rechter | rechten | rechtes | rechtem | rechtsseitig"
        " | rechtsseitige | rechtsseitiger | rechtsseitiges | rechtsseitigen"
        " | droit | droite | droits | droites | à droite | derecho | derecha | derechos | derechas"
        " | dcho | dcha | 右 | 右 侧 | 右 側"
    ),
    "both": (
        "both | bilateral | bilaterally | bilat | b / l | either | both sides | both sided"
        " | beide | beiden | beider | beidseits | beidseitig"
        " | beidseitige | beidseitiger | bds | bilaterale | bilateraler | bilatéral | bilatérale"
        " | bilatéraux | les deux | des deux | des deux côtés | ambos | ambas | bilaterales"
        " | 双 | 双 侧 | 两 侧 | 两"
    ),
}
SIDED_ADJECTIVES = {"bibasilar": "basal", "bibasal": "basal", "biapical": "apical"}

CONNECTORS = {
    "in": (
        "in | of | within | inside | into | throughout | at | from | involving | along | on | over"
        " | arising from | arising in | originating from | located in | located at | seen in"
        " | confined to | occupying | contained in | belonging to | under | beneath | for | per | to"
        " | im | am | aus | von | vom | innerhalb | innerhalb von"
        " | de | du | des | dans | dans le | dans la | au | aux | del | de la | en | en el | en la"
        " | 的 | 在 | 内 | 里 | 中 | 位 于"
    ),
    "near": (
        "near | near to | next to | adjacent to | abutting | close to | touching | contacting"
        " | beside | bordering | neighboring | neighbouring | around | surrounding | encasing"
        " | invading | compressing | displacing | anterior to | posterior to | lateral to"
        " | medial to | superior to | inferior to | above | below | behind | in front of | between"
        " | left of | right of | to the left of | to the right of | in contact with | distal to"
        " | proximal to | extending to | extending into | neben | nahe | près de | cerca de"
    ),
    "and": "and | & | + | plus | as well as | and also | along with | together with | also | und"
    " | sowie | et | y | e | 和 | 与 | 及 | 以 及",
    "or": "or | nor | and / or | or else | oder | noch | ou | ni | o | u | 或",
    "but": "but | however | although | though | yet | whereas | while | aber | jedoch | mais | pero"
    " | 但 | 但 是 | but there is | but there are",
    "with": "with | containing | having | w / | accompanied by | associated with | mit | avec | con"
    " | status post | s / p",
    "has": "shows | show s | has | have | demonstrates | demonstrate | contains | contain | exhibits"
    " | reveals | reveal | harbors | zeigt | montre | muestra",
    "without": "without | w / o | with no | without any | without evidence of | with no evidence of"
    " | without signs of | without sign of | with no sign of | with no signs of | devoid of"
    " | ohne | sans | sin | no longer containing",
    "exclude": "excluding | except | except for | excepting | minus | other than | apart from"
    " | aside from | but not | but no | not including | not counting | but without | less"
    " | with the exception of | leaving out | omitting | außer | ausgenommen | sauf | excepto"
    " | subtracting | 除 了",
    "be": "is | are | was | were | appears | appear | appeared | remains | remain | looks | ist"
    " | sind | est | sont | es | está | están | being | been",
}

COUNTS = {
    "2:": "multiple | several | few | a few | numerous | many | innumerable | various | some"
    " | a couple of | scattered | disseminated | multiples | mehrere | zahlreiche | plusieurs"
    " | varios | varias | 多 发 | 多 个",
    "1:1": "single | solitary | one | lone | isolated | einzelner | unique | único | única | 单 发",
    "2:2": "two | a pair of | pair of | zwei | deux | dos | 两 个",
    "3:3": "three | drei | trois | tres | 三 个",
    "4:4": "four | vier | quatre | cuatro",
    "5:5": "five | fünf | cinq | cinco",
    "6:6": "six | sechs | seis",
    "7:7": "seven | sieben | sept | siete",
    "8:8": "eight | acht | huit | ocho",
    "9:9": "nine | neun | neuf | nueve",
    "10:10": "ten | zehn | dix | diez",
    "11:11": "eleven | elf | onze",
    "12:12": "twelve | zwölf | douze",
}

GENERIC = {
    "organ": "organ | organs",
    "structure": "structure | structures | anything | everything | something | object | objects"
    " | thing | things | whatever",
    "lesion": "lesion | lesions | abnormality | abnormalities | läsion | läsionen | lésion | lésions"
    " | lesión | lesiones",
    "nodule": "nodule | nodules | rundherd | rundherde | knoten | nódulo | nódulos | 结 节",
    "mass": "mass | masses | raumforderung | masa | 肿 块",
    "cyst": "cyst | cysts | zyste | zysten | kyste | kystes | quiste | quistes | 囊 肿",
    "stone": "stone | stones | calculus | calculi | stein | steine | calcul | cálculo | cálculos",
    "tumor": "tumor | tumors | neoplasm | neoplasms | malignancy | cancer | carcinoma | 肿 瘤",
    "metastasis": "metastasis | metastases | metastase | metastasen | métastase | metástasis",
    "calcification": "calcification | calcifications | verkalkung | verkalkungen",
    "collection": "collection | collections | fluid collection",
    "abscess": "abscess | abscesses | abszess",
    "hematoma": "hematoma | hematomas",
    "opacity": "opacity | opacities | density focus",
    "fracture": "fracture | fractures | fraktur | frakturen",
    "thrombus": "thrombus | thrombi | thrombosis | clot | clots",
    "aneurysm": "aneurysm | aneurysms",
    "stent": "stent | stents",
    "catheter": "catheter | catheters",
}

QUESTIONS = (
    "where is | where are | where | where ' s | where's | is there | is there a | is there any"
    " | are there | are there any | can you | could you | would you | will you | does | do you see"
    " | which | what | what is | how big is | how large is | any | do you | wo ist | wo sind"
    " | où est | où sont | dónde está | dónde están"
)

FILLERS = (
    "the | a | an | this | that | these | those | its | their | his | her | my | our | your | all"
    " | any | each | every | such | there | here | there is | there are | there was | there were"
    " | there's | there has been | it | i | we | you | they | me | us | let us | let me | please"
    " | pls | kindly | thanks | thank you | now | just | only | also | too | very | right now"
    " | segment | segmenting | segmentation | segmentation mask | mask | masks | outline | contour"
    " | contours | delineate | draw | extract | isolate | highlight | mark | label | annotate"
    " | show | show me | display | visualize | visualise | see | find | find me | detect | locate"
    " | identify | identified | look | look for | looking for | search | search for | get | give"
    " | give me | want | want to | need | would | would like | would like to | like to | can | could"
    " | will | point out | pick | select | measure | quantify | compute | calculate | return"
    " | predict | generate | create | make | do | does | is there | are there | image | images"
    " | scan | scans | ct | cta | mri | mr | pet | ct scan | ct image | ct scans | picture | volume"
    " | volumes | study | exam | examination | series | patient | patients | subject | view"
    " | parenchyma | tissue | area | areas | region | regions | zone | zones | portion | portions"
    " | part | parts | aspect | aspects | side | sides | location | level | field | fields | body of"
    " | impression | findings | finding | conclusion | report | comparison | technique | indication"
    " | noted | seen | visible | visualized | visualised | present | demonstrated | observed"
    " | redemonstrated | again | again seen | redemonstration of | evident | identifiable | shown"
    " | appreciated | found | detected | located | appearing | as | by | be | been | being | has been"
    " | have been | had | which | who | whose | where | when | what | then | than | so | both"
    " | scattered | throughout | measuring | measures | measure | measured | sized | size | sizes"
    " | in size | diameter | in diameter | with a diameter of | with diameter of | a diameter of"
    " | diameter of | long axis | short axis | with a short axis of | with a long axis of"
    " | short axis of | in short axis | in long axis | longest diameter | maximal diameter"
    " | maximum diameter | in maximal diameter | in maximum diameter | in greatest dimension"
    " | greatest dimension | in length | length | thick | thickness | dimension | dimensions"
    " | prior | prior study | previous study | since the prior study | compared to prior"
    " | compared to the prior study | compared with prior | from prior | since prior | than before"
    " | before | since | compared | comparison with prior | on this study | on this scan | on this ct"
    " | interval development of | development of | in this scan | in this image | in this ct scan"
    " | in the image | in the scan | for me | in this patient | of the patient | volume of"
    " | small volume | too small to characterize | series | in caliber | caliber | in size and"
    " | attenuation | density | contour | in attenuation | most pronounced | predominantly | mainly"
    " | mostly | slightly | mildly | markedly | greatest | centered | centred | extending | up"
    " | der | die | das | den | dem | ein | eine | einen | einer | eines | bitte | zeige | zeig"
    " | mir | segmentiere | le | la | les | un | une | l | montre moi | segmenter | s'il vous plaît"
    " | el | los | las | una | unos | por favor | muestra | segmenta | 请 | 分 割 | 显 示 | 的 | 个"
)
DETERMINERS = frozenset("a an there this another one some ein eine un une una".split())

SENTENCE_ENDS = frozenset(".;!\n。；！")
SIDE_ABBREVIATIONS = frozenset("l lt r rt lft rgt bilat approx ca ant post sup inf med lat".split())

COMMON = frozenset(
    "about above across actual after along among another around aside attempt available bases"
    " basis became become began begin being below bring brown carry cause center change chart chest"
    " class clean clear close could course cover crown dates daily doctor doubt drive early earth"
    " either eight enter equal error every exact extra faint field fifth final first fixed focus"
    " force found fourth frame fresh front given glass going grade grand great green group grown"
    " guess guide hands happy heavy hello house human ideal image index inner issue items"
    " joint known label large later layer learn least level light limit lines local lower maybe"
    " means metal might model month motion mount mouse mouth moved music never night noise noted"
    " number occur offer often order other outer paper parts patient phase phone piece pixel place"
    " plain plane please point power present press prior quick quite raise range rapid ratio reach"
    " ready right river round scale scene score seems sense serve seven shape share sharp shift"
    " short shown sight since sixth skill slice slight small smart smoke solid solve some sorry"
    " sound south space spare speak speed spend split spots stack staff stage stand start state"
    " steps still stock stone store story stuff style sugar table taken tasks taste teach terms"
    " thank their theme there these thick thing think third those three tight times tired title"
    " today total touch tower trace track trade train treat trend trial tried truck trust truth"
    " twice under union until upper usage using usual value video visit voice voxel waste watch"
    " water weight where which while white whole whose woman women words world worse worst would"
    " write wrong years yellow young height between because therefore before during through should"
    " review reviewed window without within further follow followup months weeks"
    " compatible consistent representing related"
    " tight light bright slight sight night fight might flight".split()
)
