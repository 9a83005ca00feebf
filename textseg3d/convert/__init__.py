"""Turns the weights of other programs into model folders that carry no code."""

from textseg3d.convert.nnunet import convert_nnunet

__all__ = ["convert_nnunet"]
