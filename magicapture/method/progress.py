"""How far a training is: what its steps tell, and which state is kept once their previews are scored.

A step draws its preview on the accelerator; what it is worth can be found out elsewhere and later.
"""

from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Self

from PIL import Image
from torch import Tensor

from magicapture.adapters.adapter import Adapter
from magicapture.adapters.info import PreviewScore
from magicapture.bases import Rows
from magicapture.config import GenerateConfig
from magicapture.drawing.generation import scored
from magicapture.drawing.portrait import Portrait
from magicapture.method.objective import Phase
from magicapture.scoring import Targets
from magicapture.subject import Subject

STYLE_WEIGHT = 1 / 3
"""Of style beside likeness where the best state is chosen: more than among portraits, lest one without the look win."""


@dataclass(frozen=True, eq=False)
class Weights:
    """What is learned, on the CPU: PEFT's state dict of the LoRA, and the trigger words' rows."""

    lora: dict[str, Tensor]
    rows: Rows


@dataclass(frozen=True, eq=False)
class Preview:
    """Quick portraits as drawn with ``config``, and the state that drew them; for the last two see ``PreviewScore``."""

    images: list[Image.Image]
    config: GenerateConfig
    weights: Weights
    lora_ratio: float
    row_norm: float


@dataclass(frozen=True, eq=False)
class TrainEvent:
    """What one step did. ``step`` counts from 1 over both phases; ``losses`` by name, unweighted.

    ``preview``: what it drew, until that is scored; ``previews``: the same scored.
    """

    phase: Phase
    step: int
    steps: int
    losses: dict[str, float]
    previews: tuple[Portrait, ...] = ()
    preview: Preview | None = None


@dataclass
class Progress:
    """All that changes while training, beside the weights under training: part of a checkpoint."""

    step: int = 0
    best_score: float = float("-inf")
    best_step: int = 0
    best: Weights | None = None  # of the best preview so far
    history: list[PreviewScore] = field(default_factory=list)  # one row per round of previews

    def at(self, step: int) -> Self:
        """Give the same after ``step`` steps, as a record of its own."""
        return replace(self, step=step, history=[*self.history])

    def judge(self, event: TrainEvent, targets: Targets, subject: Subject) -> TrainEvent:
        """Score what a step drew, if it did, and keep that state when it is the best so far; gives the event scored."""
        drawn = event.preview
        if drawn is None:
            return event
        portraits = scored(drawn.images, targets, subject, drawn.config)
        likeness, style = fmean(p.likeness or 0.0 for p in portraits), fmean(p.style or 0.0 for p in portraits)
        self.history.append(
            {
                "step": event.step,
                "likeness": likeness,
                "style": style,
                "lora_ratio": drawn.lora_ratio,
                "row_norm": drawn.row_norm,
            }
        )
        if (score := likeness + STYLE_WEIGHT * min(style, 1.0)) > self.best_score:
            self.best_score, self.best_step, self.best = score, event.step, drawn.weights
        return replace(event, previews=tuple(portraits), preview=None)

    def crown(self, adapter: Adapter, targets: Targets) -> Adapter:
        """Give the best state that was scored, or ``adapter`` itself, the last one, when none was; with all scores."""
        best = self.best or Weights(adapter.lora, adapter.rows)
        step = self.best_step or adapter.info.steps
        info = replace(adapter.info, best_step=step, scores=tuple(self.history))
        return replace(adapter, lora=best.lora, rows=best.rows, info=info, targets=targets)
