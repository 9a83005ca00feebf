"""`plans.json`: one human-readable file that says everything about a model's pipeline."""

from textseg3d.plans.schema import Architecture, Configuration, Intensity, Plans, TextSettings

__all__ = ["Architecture", "Configuration", "Intensity", "Plans", "TextSettings"]
