"""The convolutions of a `PromptUNet` by OpenVINO, an optional runtime for CPUs.

OpenVINO gets the image side, from the packed input to the feature maps, and the full-resolution
head; tokens and prompts stay torch's. Graphs are built from the network's own weights, one per
window shape, and kept.

``int8`` concerns the head alone, which has three quarters of ct-nano's multiplications: it only
corrects logits of stride 2, so it forgives what the image side does not. Its activations are
scaled by their own largest value, window part by window part, so there is nothing to calibrate.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from textseg3d.errors import MissingDependencyError, UsageError
from textseg3d.networks.blocks import ResidualBlock
from textseg3d.networks.ensemble import FoldEnsemble
from textseg3d.networks.prompt_attention import ImageProjections, PromptReading
from textseg3d.networks.prompt_unet import STEM, ImageFeatures, PromptAnswer, PromptUNet

PRECISIONS = ("fp32", "bf16", "int8")
_MAPS = 4  # that features are made of
_SLOPE = 0.01  # of LeakyReLU


def openvino_version() -> str:
    """Of the installed package.

    Raises:
        MissingDependencyError: without openvino.
    """
    try:
        import openvino
    except ImportError:
        raise MissingDependencyError(
            "--device openvino needs the package openvino; install it with "
            "pip install 'textseg3d[openvino]', or choose --device cpu"
        ) from None
    return str(openvino.__version__).partition("-")[0]


def by_openvino(network: nn.Module, *, int8: bool = False) -> nn.Module:
    """A network whose convolutions OpenVINO runs, bf16 under torch's autocast, else float32.

    Args:
        network: a `PromptUNet`, or an ensemble of them.
        int8: run the full-resolution head's in 8 bits.

    Raises:
        MissingDependencyError: without openvino.
        UsageError: for another kind of network.
    """
    openvino_version()
    if isinstance(network, FoldEnsemble):
        return FoldEnsemble([by_openvino(member, int8=int8) for member in network.members])
    if not isinstance(network, PromptUNet):
        raise UsageError(
            f"--device openvino runs a PromptUNet, not {type(network).__name__}; choose "
            "--device cpu"
        )
    return OpenVinoUNet(network, int8=int8)


class OpenVinoUNet(nn.Module):
    """Used as a `PromptUNet` is, without gradients; safe to use from several threads.

    Args:
        network: its weights and its torch part.
        int8: see :func:`by_openvino`.
    """

    def __init__(self, network: PromptUNet, *, int8: bool) -> None:
        super().__init__()
        self.network = network
        self.int8 = int8
        self._requests: dict[tuple[Any, ...], Any] = {}
        self._lock = threading.Lock()

    def encode_image(self, x: Tensor, position: Tensor) -> ImageFeatures:
        """See `PromptUNet.encode_image`."""
        packed = self.network.pack(x, position)
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        layout = torch.channels_last_3d
        maps = [m.to(dtype).contiguous(memory_format=layout) for m in self._run("image", [packed])]
        return self.network.image_features(maps, position, x.shape[2:])

    def fine_features(self, half: Tensor, x: Tensor) -> Tensor:
        """See `PromptUNet.fine_features`; float32, planes of channels, for the caller to copy."""
        return self._run("head", [half, x])[0]

    def project(self, features: ImageFeatures) -> ImageProjections:
        """See `PromptUNet.project`."""
        return self.network.project(features)

    def answer(
        self,
        features: ImageFeatures,
        tokens: Tensor,
        mask: Tensor,
        pooled: Tensor,
        projected: ImageProjections | None = None,
    ) -> PromptAnswer:
        """See `PromptUNet.answer`."""
        return self.network.answer(features, tokens, mask, pooled, projected)

    def read(
        self, projected: ImageProjections, tokens: Tensor, mask: Tensor, pooled: Tensor
    ) -> PromptReading:
        """See `PromptUNet.read`."""
        return self.network.read(projected, tokens, mask, pooled)

    def locate(
        self, features: ImageFeatures, projected: ImageProjections, reading: PromptReading
    ) -> Tensor:
        """See `PromptUNet.locate`."""
        return self.network.locate(features, projected, reading)

    def _run(self, part: str, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Maps [1, C, d, h, w] of a part of the network, float32."""
        import openvino

        half = torch.is_autocast_enabled("cpu")
        arrays = [t.float().contiguous().numpy() for t in inputs]
        key = (part, half, *(a.shape for a in arrays))
        with self._lock:
            if key not in self._requests:
                self._requests[key] = self._compile(part, [a.shape for a in arrays], half)
            request = self._requests[key]
            found = [torch.empty(tuple(o.shape)) for o in request.model_outputs]
            for i, tensor in enumerate(found):
                shared = openvino.Tensor(tensor.numpy(), shared_memory=True)
                request.set_output_tensor(i, shared)
            request.infer(arrays, share_inputs=True)
        return found

    def _compile(self, part: str, shapes: list[tuple[int, ...]], half: bool) -> Any:
        import openvino

        if part == "image":
            model = _image_graph(self.network, shapes[0])
        else:
            model = _head_graph(self.network, shapes[0], shapes[1], int8=self.int8)
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        return openvino.Core().compile_model(model, "CPU", settings).create_infer_request()


def _image_graph(network: PromptUNet, shape: tuple[int, ...]) -> Any:
    """From the packed input to the maps of strides 2, 4, 8, 16."""
    import openvino
    from openvino import opset13 as ops

    packed = ops.parameter(list(shape), np.float32)
    y = _conv(packed, network.stem)
    skips = []
    for stage in network.encoder:
        for block in cast(nn.Sequential, stage):
            y = _block(y, cast(ResidualBlock, block))
        skips.append(y)
    maps = [y]
    for skip, up, block in zip(reversed(skips[:-1]), network.up, network.decoder):
        wide = _upsample(_conv(y, cast(nn.Conv3d, up)))
        y = _block(ops.concat([skip, wide], 1), cast(ResidualBlock, block))
        maps.append(y)
    results = [ops.result(one) for one in maps[::-1][:_MAPS]]
    return openvino.Model(results, [packed], "image")


def _head_graph(
    network: PromptUNet, half: tuple[int, ...], x: tuple[int, ...], *, int8: bool
) -> Any:
    """From maps of stride 2 and the input to the full-resolution features."""
    import openvino
    from openvino import opset13 as ops

    inputs = [ops.parameter(list(shape), np.float32) for shape in (half, x)]
    wide = ops.depth_to_space(_conv(inputs[0], network.to_fine), "blocks_first", STEM)
    y = ops.concat([wide, inputs[1]], 1)
    if int8:
        y = _act(_conv_int8(y, network.fine1, (-127, 127)))
        y = _act(_conv_int8(y, network.fine2, (-8, 247)))  # activations: next to none is negative
    else:
        y = _act(_conv(_act(_conv(y, network.fine1)), network.fine2))
    return openvino.Model([ops.result(y)], inputs, "head")


def _block(x: Any, block: ResidualBlock) -> Any:
    from openvino import opset13 as ops

    y = _act(_norm(_conv(x, block.conv1), block.norm1))
    y = _norm(_conv(y, block.conv2), block.norm2)
    for part in block.shortcut:
        x = _conv(x, part) if isinstance(part, nn.Conv3d) else _pool(x, cast(nn.AvgPool3d, part))
    return _act(ops.add(y, x))


def _conv(x: Any, conv: nn.Conv3d) -> Any:
    from openvino import opset13 as ops

    return _biased(_convolve(x, ops.constant(_array(conv.weight)), conv), conv)


def _conv_int8(x: Any, conv: nn.Conv3d, steps: tuple[int, int]) -> Any:
    """The convolution of 8 bit values, multiples of x's largest and of each weight channel's.

    Args:
        x: input.
        conv: weights.
        steps: that values of x may take; the last is x's largest.
    """
    from openvino import opset13 as ops

    size = ops.reduce_max(ops.abs(x), [0, 1, 2, 3, 4], keep_dims=True)
    size = ops.maximum(size, np.float32(1e-20))
    low, high = (np.full((1, 1, 1, 1, 1), step / steps[1], np.float32) for step in steps)
    levels = steps[1] - steps[0] + 1
    x = ops.fake_quantize(ops.divide(x, size), low, high, low, high, levels)
    weight = _array(conv.weight)
    most = np.maximum(np.abs(weight).max(axis=(1, 2, 3, 4), keepdims=True), np.float32(1e-20))
    quantised = ops.fake_quantize(ops.constant(weight), -most, most, -most, most, 255)
    return _biased(ops.multiply(_convolve(x, quantised, conv), size), conv)


def _convolve(x: Any, weight: Any, conv: nn.Conv3d) -> Any:
    from openvino import opset13 as ops

    padding = list(cast(tuple[int, ...], conv.padding))
    return ops.convolution(x, weight, list(conv.stride), padding, padding, [1, 1, 1])


def _biased(y: Any, conv: nn.Conv3d) -> Any:
    from openvino import opset13 as ops

    return y if conv.bias is None else ops.add(y, _per_channel(conv.bias))


def _norm(x: Any, norm: nn.Module) -> Any:
    from openvino import opset13 as ops

    y = ops.mvn(x, [2, 3, 4], True, 1e-5, "inside_sqrt")
    y = ops.multiply(y, _per_channel(cast(Tensor, norm.weight)))
    return ops.add(y, _per_channel(cast(Tensor, norm.bias)))


def _act(x: Any) -> Any:
    from openvino import opset13 as ops

    return ops.prelu(x, np.array([_SLOPE], np.float32))


def _pool(x: Any, pool: nn.AvgPool3d) -> Any:
    from openvino import opset13 as ops

    side = [cast(int, pool.kernel_size)] * 3
    return ops.avg_pool(x, side, [0, 0, 0], [0, 0, 0], side, True)


def _upsample(x: Any) -> Any:
    from openvino import opset13 as ops

    scales = np.array([2.0, 2.0, 2.0], np.float32)
    mode, axes = "linear_onnx", np.array([2, 3, 4])
    return ops.interpolate(
        x, scales, mode, "scales", axes=axes, coordinate_transformation_mode="pytorch_half_pixel"
    )


def _per_channel(values: Tensor) -> Any:
    from openvino import opset13 as ops

    return ops.constant(_array(values).reshape(1, -1, 1, 1, 1))


def _array(values: Tensor) -> Any:
    return values.detach().float().contiguous().numpy()
