"""A denoiser that a GPU replays: the thousands of small kernels of its two passes are launched as two graphs."""

import gc
import logging
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

Denoise = Callable[..., tuple[Tensor, ...]]

logger = logging.getLogger(__name__)


class Replay:
    """Denoising in training, captured for the kind of step that is taken now: its shapes, and whether a LoRA learns.

    https://docs.pytorch.org/docs/stable/notes/cuda.html#partial-network-capture. Whatever takes part must stay where it
    is in memory, as ``WorkingCopies`` do. The next kind of step takes the place of the last one.
    """

    @staticmethod
    def possible(device: torch.device) -> bool:
        """Tell whether ``device`` is the only GPU: what others do meanwhile would disturb the capture."""
        return device.type == "cuda" and torch.cuda.device_count() == 1

    def __init__(self) -> None:
        """Start with nothing captured."""
        self._parameters: list[nn.Parameter] = []
        self._kind: tuple[object, ...] = ()
        self._graph: Denoise | None = None

    def __call__(self, denoise: Denoise, denoiser: nn.Module, kind: object, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Give ``denoise(*inputs)``, which computes with the parameters of ``denoiser``; ``kind`` says what else it is.

        What is given lies where the next call puts what it gives.
        """
        self._parameters = self._parameters or list(denoiser.parameters())
        learned = [parameter for parameter in self._parameters if parameter.requires_grad]
        found = (kind, len(learned), *((value.shape, value.dtype, value.requires_grad) for value in inputs))
        if self._graph is None or found != self._kind:
            self.forget()
            self._graph, self._kind = captured(denoise, inputs, learned), found
        return self._graph(*inputs, *learned)

    def forget(self) -> None:
        """Free the memory in which a graph computes: all that a forward pass keeps."""
        self._graph = None
        gc.collect()  # PyTorch keeps a graph in a class of its own, and a class refers to itself


def captured(denoise: Denoise, inputs: tuple[Tensor, ...], learned: list[nn.Parameter]) -> Denoise:
    """Give ``denoise`` as a function of ``inputs`` and of what is ``learned``, replayed where it could be captured."""

    def of_all(*values: Tensor) -> tuple[Tensor, ...]:
        return denoise(*values[: len(inputs)])

    samples = [value.detach().clone().requires_grad_(value.requires_grad) for value in inputs]
    try:
        return cast("Denoise", torch.cuda.make_graphed_callables(of_all, (*samples, *learned)))
    except RuntimeError as error:  # such as memory that does not suffice for what a graph keeps
        logger.warning("Training is slower than it could be: the denoiser could not be captured (%s).", error)
        return of_all
