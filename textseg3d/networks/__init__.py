"""Networks that turn a window and a prompt into logits; built from plans."""

from textseg3d.networks.build import build_network, networks

__all__ = ["build_network", "networks"]
