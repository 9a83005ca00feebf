"""Turns the weights of other programs into model folders that carry no code."""

from textseg3d.convert.nnunet import convert_nnunet
from textseg3d.convert.open_models import convert_sat, convert_voxtell

__all__ = ["convert_nnunet", "convert_sat", "convert_voxtell"]
