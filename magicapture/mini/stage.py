"""One stage of the embedded base's training: its loop, its average of weights and its checkpoints."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from magicapture.bases.precision import fast_dtype

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
WARMUP = 100
"""Steps in which a learning rate rises."""


def autocast() -> torch.autocast:
    """Multiply in what the device multiplies fast; weights stay in float32."""
    dtype = fast_dtype()
    return torch.autocast(DEVICE.type, dtype, enabled=dtype != torch.float32)


@dataclass
class Stage:
    """What one stage trains, its averaged copy, and where it has come to: all that a checkpoint holds."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: EMAModel
    step: int = 0

    @classmethod
    def new(cls, name: str, model: nn.Module, lr: float, ema: float) -> "Stage":
        """Start ``model`` on AdamW with an exponential moving average of decay ``ema``."""
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=torch.tensor(lr, device=DEVICE),  # a tensor, so that a graph of the step reads it anew
            betas=(0.9, 0.99),
            weight_decay=0.01,
            fused=True,
            capturable=DEVICE.type == "cuda",
        )
        average = EMAModel(model.parameters(), decay=ema, use_ema_warmup=True, power=0.75, foreach=True)
        return cls(name, model, optimizer, average)

    def optimizer_step(self, loss: Tensor) -> Tensor:
        """Take one step down ``loss``; gives its value."""
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def save(self, run: Path) -> None:
        """Write the whole state to ``run``; the file appears only when it is complete."""
        part = run / f"{self.name}.part"
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
            "step": self.step,
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all(),
            "python_rng": random.getstate(),
        }
        torch.save(state, part)
        part.replace(run / f"{self.name}.pt")

    def resume(self, run: Path) -> None:
        """Go on from the checkpoint in ``run``, when there is one."""
        if not (path := run / f"{self.name}.pt").exists():
            return
        state = torch.load(path, map_location=DEVICE, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        self.step = state["step"]
        torch.set_rng_state(state["torch_rng"].cpu())
        torch.cuda.set_rng_state_all([rng.cpu() for rng in state["cuda_rng"]])
        random.setstate(state["python_rng"])


class Graph:
    """A step of training that a GPU replays: its thousands of small kernels are launched as one.

    ``step`` takes tensors, the batch, and gives the loss. It must not wait for the GPU, nor copy anything there.
    Captured at the first call (https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture), whose batch
    is learned from four times; on a CPU, ``step`` is simply called.
    """

    def __init__(self, step: Callable[..., Tensor]) -> None:
        """Keep the step."""
        self.step = step
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *batch: Tensor) -> Tensor:
        """Take the step on ``batch``, tensors of the same shapes at every call; gives the loss."""
        if DEVICE.type == "cpu":
            return self.step(*batch)
        graph = self.graph or self._capture(batch)
        for room, values in zip(self.batch, batch, strict=True):
            room.copy_(values)
        graph.replay()
        return self.loss

    def _capture(self, batch: tuple[Tensor, ...]) -> torch.cuda.CUDAGraph:
        self.batch, aside = [values.to(DEVICE) for values in batch], torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):  # what is set up once must not be part of it
                self.step(*self.batch)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.loss = self.step(*self.batch)
        return graph


def lr_factor(step: int, steps: int) -> float:
    """Scale the learning rate: a linear warm-up, then linear decay to 0."""
    return min(1.0, (step + 1) / WARMUP, (steps - step) / (0.6 * steps))


def run_stage(stage: Stage, steps: int, lr: float, learn: Callable[[], Tensor], run: Path, minutes: float) -> None:
    """Call ``learn``, which takes a step and gives its loss, until there were ``steps``; ends on averaged weights.

    A checkpoint is written every so many ``minutes``.
    """
    stage.resume(run)
    stage.model.train()
    saved, started, first, smooth = time.monotonic(), time.monotonic(), stage.step, None
    while stage.step < steps:
        for group in stage.optimizer.param_groups:
            group["lr"].fill_(lr * lr_factor(stage.step, steps))
        loss = learn()
        stage.ema.step(stage.model.parameters())
        stage.step += 1
        smooth = loss if smooth is None else torch.lerp(loss, smooth, 0.98)  # not read at once: a GPU need not wait
        if stage.step % 50 == 0:
            rate = (stage.step - first) / (time.monotonic() - started)
            print(f"{stage.name} {stage.step}/{steps} loss {smooth.item():.4f} {rate:.2f} steps/s", flush=True)
        if time.monotonic() - saved > 60 * minutes or stage.step == steps:
            stage.save(run)
            saved = time.monotonic()
    stage.ema.copy_to(stage.model.parameters())
    stage.model.eval()
