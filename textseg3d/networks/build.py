"""Builds the network that a configuration names."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import nn

from textseg3d.errors import PlansError
from textseg3d.networks.prompt_unet import PromptUNet
from textseg3d.plans.schema import Configuration
from textseg3d.registry import Registry
from textseg3d.suggest import did_you_mean

networks: Registry[Callable[..., nn.Module]] = Registry("network")
networks.register("PromptUNet")(PromptUNet)


def build_network(configuration: Configuration) -> nn.Module:
    """The network of ``configuration.architecture``, with random weights, channels last.

    Raises:
        PlansError: if an argument in the plans is not one of the network's.
    """
    architecture = configuration.architecture
    builder = networks[architecture.network_class_name]
    known = list(inspect.signature(builder).parameters)
    for name in architecture.arch_kwargs:
        if name not in known:
            raise PlansError(
                f"architecture argument {name!r} is not one of "
                f"{architecture.network_class_name}{did_you_mean(name, known)}"
            )
    arguments = {
        k: tuple(v) if isinstance(v, list) else v for k, v in architecture.arch_kwargs.items()
    }
    network = builder(in_channels=configuration.network_channels, **arguments)
    return network.to(memory_format=torch.channels_last_3d)
