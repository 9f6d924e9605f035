"""A denoiser that a GPU replays: the thousands of small kernels of its two passes are launched as two graphs."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Denoise = Callable[..., tuple[Tensor, ...]]


class _Denoiser(nn.Module):
    """A function of tensors that some parameters take part in, as ``make_graphed_callables`` wants it."""

    def __init__(self, denoise: Denoise, learned: list[nn.Parameter]) -> None:
        super().__init__()
        self.denoise, self.learned = denoise, nn.ParameterList(learned)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.denoise(*inputs)


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
            self._graph, self._kind = None, found
            samples = tuple(value.detach().clone().requires_grad_(value.requires_grad) for value in inputs)
            self._graph = torch.cuda.make_graphed_callables(_Denoiser(denoise, learned), samples)
        return self._graph(*inputs)
