"""Signal of tissues in MR: relaxation times, pulse sequences, and contrasts drawn at random.

Seven contrasts in ten are plausible: relaxation times of the body's tissues, varied, seen by a
random sequence, sometimes with fat suppressed or contrast medium given. The rest are wholly
random, one signal per tissue, so that a network has to go by shape and not by contrast (SynthSeg,
Billot et al., Medical Image Analysis 86, 2023).

Relaxation times are those at 3 T of de Bazelaire et al., Radiology 230, 2004 (abdomen and pelvis,
fat, marrow, muscle), and Stanisz et al., Magnetic Resonance in Medicine 54, 2005 (blood, cord,
cartilage); the others and the proton densities are estimates. They are varied by more than 1.5 T
and 3 T differ. Signal equations: Bernstein, King, Zhou, Handbook of MRI Pulse Sequences, 2004.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch

from textseg3d.synthesis.noise import chance, uniform


@dataclass(frozen=True)
class Relaxation:
    """Of a tissue: T1 and T2 in ms, proton density relative to water."""

    t1: float
    t2: float
    density: float


@dataclass(frozen=True)
class Sequence:
    """A pulse sequence; times in ms.

    Attributes:
        kind: "spin echo", "inversion" (spin echo after an inversion), "gradient echo" (spoiled)
            or "steady state" (balanced).
        tr, te, ti: repetition, echo and inversion time.
        flip_degrees: of gradient echo and steady state.
    """

    kind: Literal["spin echo", "inversion", "gradient echo", "steady state"]
    tr: float = 0.0
    te: float = 0.0
    ti: float = 0.0
    flip_degrees: float = 90.0


# Keys are those of `textseg3d.synthesis.render.TISSUE_HU`, and "vein"; bone is its marrow.
TISSUE_RELAXATION: dict[str, Relaxation] = {
    "lung": Relaxation(1200, 30, 0.15),
    "fat": Relaxation(382, 68, 0.9),
    "skin": Relaxation(900, 30, 0.7),
    "muscle": Relaxation(898, 29, 0.8),
    "soft": Relaxation(1514, 79, 0.85),
    "cartilage": Relaxation(1168, 27, 0.7),
    "disc": Relaxation(1200, 80, 0.8),
    "cord": Relaxation(993, 78, 0.75),
    "csf": Relaxation(4000, 1500, 1.0),
    "airway_wall": Relaxation(900, 35, 0.6),
    "bone": Relaxation(586, 49, 0.7),
    "fluid": Relaxation(3500, 800, 1.0),
    "gland": Relaxation(1400, 74, 0.85),
    "thyroid": Relaxation(1100, 75, 0.85),
    "bowel": Relaxation(1000, 60, 0.8),
    "liver": Relaxation(809, 34, 0.8),
    "spleen": Relaxation(1328, 61, 0.85),
    "pancreas": Relaxation(725, 43, 0.8),
    "kidney": Relaxation(1142, 76, 0.85),
    "kidney_medulla": Relaxation(1545, 81, 0.9),
    "blood": Relaxation(1932, 275, 0.9),
    "vein": Relaxation(1932, 200, 0.9),
}
# Tissue → range of what contrast medium adds to 1 / T1, in 1 / s; muscle's where it is not listed.
ENHANCEMENT: dict[str, tuple[float, float]] = {
    "blood": (1.0, 12.0),
    "vein": (0.0, 8.0),
    "kidney": (1.0, 8.0),
    "kidney_medulla": (0.3, 8.0),
    "spleen": (0.5, 4.0),
    "liver": (0.2, 2.5),
    "pancreas": (0.5, 2.5),
    "bowel": (0.3, 2.5),
    "gland": (0.3, 2.5),
    "thyroid": (1.0, 4.0),
    "soft": (0.2, 2.0),
    "muscle": (0.05, 0.6),
}
PLAUSIBLE = 0.7  # share of contrasts that follow relaxation times
VARIED = (0.7, 1.35)  # factor of T1 and of T2, each tissue on its own
DARK = {"air": (0.0, 0.01), "cortical bone": (0.0, 0.12)}


def signal(tissue: Relaxation, sequence: Sequence) -> float:
    """Signal of a tissue, signed: what is inverted at the echo is below zero."""
    if sequence.kind == "steady state":
        flip = math.radians(sequence.flip_degrees)
        ratio = tissue.t1 / tissue.t2
        found = math.sin(flip) / (1 + math.cos(flip) + (1 - math.cos(flip)) * ratio)
        return tissue.density * found * math.exp(-sequence.te / tissue.t2)
    recovered = math.exp(-sequence.tr / tissue.t1)
    t2 = tissue.t2
    if sequence.kind == "gradient echo":
        flip = math.radians(sequence.flip_degrees)
        along = (1 - recovered) / (1 - math.cos(flip) * recovered) * math.sin(flip)
        t2 = tissue.t2 / 2  # T2*
    elif sequence.kind == "inversion":
        along = 1 - 2 * math.exp(-sequence.ti / tissue.t1) + recovered
    else:
        along = 1 - recovered
    return tissue.density * along * math.exp(-sequence.te / t2)


def draw_sequence(rng: torch.Generator) -> Sequence:
    """One of the usual ones: T1, T2, proton density, short-tau inversion, gradient echo."""
    choice = int(torch.randint(0, 8, (), generator=rng))
    if choice in (0, 1):
        return Sequence("spin echo", tr=uniform(rng, 300, 800), te=uniform(rng, 7, 20))
    if choice == 2:
        return Sequence("spin echo", tr=uniform(rng, 2500, 8000), te=uniform(rng, 60, 140))
    if choice == 3:
        return Sequence("spin echo", tr=uniform(rng, 1800, 4000), te=uniform(rng, 10, 45))
    if choice == 4:
        return Sequence(
            "inversion", uniform(rng, 3000, 6000), uniform(rng, 20, 80), uniform(rng, 180, 290)
        )
    if choice == 5:
        return Sequence(
            "inversion", uniform(rng, 1500, 3000), uniform(rng, 2, 6), uniform(rng, 350, 1000)
        )
    if choice == 6:
        tr = math.exp(uniform(rng, math.log(3), math.log(200)))
        # About Ernst's angle of muscle, or more: T1 decides.
        ernst = math.degrees(math.acos(math.exp(-tr / TISSUE_RELAXATION["muscle"].t1)))
        flip = min(85.0, ernst * uniform(rng, 0.8, 3.0))
        return Sequence("gradient echo", tr, uniform(rng, 1, 6), flip_degrees=flip)
    return Sequence("steady state", te=uniform(rng, 1.5, 3), flip_degrees=uniform(rng, 40, 80))


def tissue_signals(rng: torch.Generator) -> dict[str, float]:
    """Signal per tissue, "air" and "cortical bone" included; the largest magnitude is 1.

    Signs are kept, so that what cancels at borders does so: after an inversion, and where fat
    and water are out of phase.
    """
    signals = _plausible(rng) if chance(rng, PLAUSIBLE) else _wild(rng)
    if chance(rng, 0.5):  # what a vendor's filter or window does
        power = uniform(rng, 0.7, 1.8)
        signals = {t: math.copysign(abs(s) ** power, s) for t, s in signals.items()}
    largest = max(max(abs(s) for s in signals.values()), 1e-6)
    signals = {t: s / largest for t, s in signals.items()}
    return signals | {tissue: uniform(rng, *span) for tissue, span in DARK.items()}


def _wild(rng: torch.Generator) -> dict[str, float]:
    """One signal per tissue, whatever the tissue; lungs stay dark."""
    signals = {tissue: uniform(rng, 0.03, 1.0) for tissue in TISSUE_RELAXATION}
    signals["lung"] = uniform(rng, 0.0, 0.25)
    if chance(rng, 0.5):
        signals["vein"] = signals["blood"] * uniform(rng, 0.85, 1.15)
    return signals


def _plausible(rng: torch.Generator) -> dict[str, float]:
    """What a random sequence makes of varied relaxation times."""
    sequence = draw_sequence(rng)
    t1_weighted = sequence.kind == "gradient echo" or 0 < sequence.tr < 1000
    enhanced = t1_weighted and chance(rng, 0.4)
    signals = {}
    for name, usual in TISSUE_RELAXATION.items():
        t1, t2 = usual.t1 * uniform(rng, *VARIED), usual.t2 * uniform(rng, *VARIED)
        if enhanced and name not in ("fat", "fluid", "csf"):
            t1 = 1000 / (1000 / t1 + uniform(rng, *ENHANCEMENT.get(name, ENHANCEMENT["muscle"])))
        density = usual.density * uniform(rng, 0.9, 1.1)
        signals[name] = signal(replace(usual, t1=t1, t2=min(t2, t1), density=density), sequence)
    if sequence.kind != "inversion" and chance(rng, 0.35):
        left = uniform(rng, 0.03, 0.4)  # of fat's signal; marrow is half fat
        signals["fat"] *= left
        signals["bone"] *= (1 + left) / 2
    elif sequence.kind == "gradient echo" and chance(rng, 0.25):  # fat and water out of phase
        signals["fat"] *= -1
        signals["bone"] *= uniform(rng, -0.3, 0.3)
    flow = 1.0
    if sequence.kind in ("spin echo", "inversion") and not enhanced and chance(rng, 0.6):
        flow = uniform(rng, 0.0, 0.35)  # blood leaves the slice between pulse and echo
    elif sequence.kind == "gradient echo" and chance(rng, 0.4):
        flow = uniform(rng, 1.0, 3.0)  # fresh blood flows in
    signals["blood"] *= flow
    signals["vein"] *= flow if chance(rng, 0.7) else 1.0
    return signals
