"""Prompts on one window, in chunks of one shape.

Texts are cut after their last token, to one of a few lengths, so that short ones do not pay for
long ones; a chunk holds texts of one of these lengths. So shapes, and with them the last bits of an
answer, depend on the prompt alone. Where on the window a prompt is, is only computed when somebody
looks: nobody does for what is absent from the whole scan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from textseg3d.inference.device import autocast
from textseg3d.inference.head import chunk_size
from textseg3d.inference.parallel import in_order, single_threaded, workers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from textseg3d.inference.device import Runtime
    from textseg3d.inference.engine import WindowFeatures
    from textseg3d.networks.prompt_attention import PromptReading
    from textseg3d.networks.prompt_unet import PromptAnswer
    from textseg3d.text.types import TextFeatures

Chunk = tuple[int, list[int]]  # length of the texts, prompts
_LENGTHS = (7, 15)  # tokens of most prompts, and of long ones; else all that there are


def ask(
    network: Any, runtime: Runtime, window: WindowFeatures, prompts: Sequence[TextFeatures]
) -> PromptAnswer:
    """What all prompts (one text each) make of a window; its coarse logits come when looked at."""
    import torch

    from textseg3d.networks.prompt_unet import PromptAnswer

    size, device = chunk_size(runtime.device), runtime.device
    groups: dict[int, list[int]] = defaultdict(list)
    for number, prompt in enumerate(prompts):
        groups[_length(prompt)].append(number)
    chunks = [
        (length, members[first : first + size])
        for length, members in groups.items()
        for first in range(0, len(members), size)
    ]

    def read(chunk: Chunk) -> PromptReading:
        length, chosen = chunk
        texts = [
            np.concatenate(a)
            for a in zip(
                *(
                    (p.tokens[:, :length], p.mask[:, :length], p.pooled)
                    for p in (prompts[i] for i in chosen)
                )
            )
        ]
        missing = size - len(chosen)
        padded = [np.pad(a, [(0, missing)] + [(0, 0)] * (a.ndim - 1)) for a in texts]
        tokens, mask, pooled = (torch.from_numpy(a).to(device) for a in padded)
        with torch.inference_mode(), autocast(runtime):
            found: PromptReading = network.read(window.projected, tokens, mask, pooled)
        return found

    order, readings = [], []
    coarse = CoarseLogits(network, runtime, window)
    for (_, chosen), reading in zip(chunks, _all(read, chunks, device)):
        coarse.know(chosen, reading.text, reading.mask)
        order += chosen
        readings.append((reading, len(chosen)))
    with torch.inference_mode():
        back = torch.from_numpy(np.argsort(order)).to(device)
        queries = [
            torch.cat([q[:n] for q, n in scale])[back]
            for scale in zip(*([(q, n) for q in r.queries] for r, n in readings))
        ]
        presence = torch.cat([r.presence[:n] for r, n in readings])[back]
    return PromptAnswer(queries, coarse, presence)  # type: ignore[arg-type]


def _all(
    read: Callable[[Chunk], PromptReading], chunks: Sequence[Chunk], device: torch.device
) -> list[PromptReading]:
    """Chunks in order; on a CPU, where there are enough of them, one in each thread."""
    count = workers() if device.type == "cpu" else 1
    if not 1 < count <= len(chunks):
        return [read(chunk) for chunk in chunks]
    with single_threaded():
        return list(in_order(read, chunks, count))


def _length(prompt: TextFeatures) -> int:
    """Tokens to which a text is cut."""
    full = prompt.mask.shape[1]
    used = np.flatnonzero(prompt.mask[0])
    last = int(used[-1]) + 1 if used.size else 0
    return min([n for n in _LENGTHS if last <= n < full], default=full)


class CoarseLogits:
    """Coarse logits of prompts on one window, made when they are first looked at.

    Args:
        network: with ``locate``.
        runtime: precision.
        window: where.
    """

    def __init__(self, network: Any, runtime: Runtime, window: WindowFeatures) -> None:
        self._network, self._runtime, self._window = network, runtime, window
        self._texts: dict[int, tuple[Tensor, Tensor]] = {}
        self._found: dict[int, Tensor] = {}

    def know(self, prompts: Sequence[int], text: Tensor, mask: Tensor) -> None:
        """What reading made of some prompts (rows in their order)."""
        self._texts.update({p: (text[i], mask[i]) for i, p in enumerate(prompts)})

    def __getitem__(self, prompts: Tensor) -> Tensor:
        """Logits [n, d, h, w] of prompts [n]."""
        import torch

        wanted = prompts.tolist()
        groups: dict[int, list[int]] = defaultdict(list)
        for prompt in dict.fromkeys(wanted):
            if prompt not in self._found:
                groups[len(self._texts[prompt][1])].append(prompt)
        size = chunk_size(self._runtime.device)
        for members in groups.values():
            for first in range(0, len(members), size):
                self._locate(members[first : first + size], size)
        with torch.inference_mode():
            return torch.stack([self._found[prompt] for prompt in wanted])

    def _locate(self, prompts: Sequence[int], size: int) -> None:
        import torch

        from textseg3d.networks.prompt_attention import PromptReading

        rows = [*prompts, *[prompts[0]] * (size - len(prompts))]
        with torch.inference_mode(), autocast(self._runtime):
            text, mask = (torch.stack(t) for t in zip(*(self._texts[row] for row in rows)))
            reading = PromptReading([], text[:, 0, 0], text, mask)
            found = self._network.locate(self._window.features, self._window.projected, reading)
        self._found.update(zip(prompts, found))
