"""What one step is to make smaller: reconstruction under masks, misplaced attention, a stranger's face."""

from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

from magicapture.bases import Base
from magicapture.bases.words import draw_prompt
from magicapture.config import TrainConfig
from magicapture.method.losses import identity_loss, masked_mse, refocusing_loss
from magicapture.method.material import Material, Samples
from magicapture.subject import Critic

Phase = Literal["tokens", "lora"]

PHASE_TASKS = {"tokens": ["source", "reference"], "lora": ["source", "reference", "composed"]}


@dataclass(frozen=True, eq=False)
class Objective:
    """The loss of MagiCapture on random batches of its material.

    ``person``: (D,) the embedding that the identity term pulls towards, where the base is; ``critic``: None switches
    that term off; ``noun``: what the subject is called.
    """

    base: Base
    config: TrainConfig
    material: Material
    person: Tensor
    critic: Critic | None
    noun: str

    def terms(self, step: int, phase: Phase, style_weight: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a batch, denoise it in one pass and give each term by name, unweighted.

        ``step`` counts from 0: identity is judged at some steps only. ``style_weight`` multiplies the reconstruction of
        the tasks that teach the style.
        """
        base, schedule, config = self.base, self.base.schedule, self.config
        tasks = [task for task in PHASE_TASKS[phase] if task != "composed" or config.uses("composed")]
        if config.one_task:
            tasks = [tasks[int(torch.randint(len(tasks), (), generator=generator))]]
        samples = self.material.draw(tasks, config.images_per_task, generator)
        noise = base.put(torch.randn(samples.latents.shape, generator=generator))
        late = torch.tensor([config.late_style and teaches_style(samples.tasks, i) for i in range(len(noise))])
        until = torch.tensor([1.0 if task == "source" else config.style_until for task in samples.tasks])
        timesteps = schedule.draw_timesteps(late, until, generator)
        noisy = schedule.add_noise(samples.latents, noise, timesteps)
        text = base.condition([draw_prompt(task, generator, self.noun) for task in samples.tasks])

        refocus = phase == "lora" and config.uses("attention")
        prediction = base.predict(noisy, base.put(timesteps), text, with_maps=refocus)

        weights = base.put(torch.tensor([1.0 if task == "source" else style_weight for task in samples.tasks]))
        error = masked_mse(prediction.output, schedule.target(samples.latents, noise, timesteps), samples.loss_masks)
        terms = {"reconstruction": (error * weights).mean()}
        if prediction.maps is not None:
            masks = torch.stack([samples.attention_masks, 1 - samples.attention_masks])  # [V1] inside, [V2] outside
            terms["attention"] = refocusing_loss(
                prediction.maps, text.positions >= 0, masks, heads_together=config.heads_together
            )
        if phase == "lora" and self.critic and step % config.identity_every == 0:
            terms["identity"] = self._identity(noisy, prediction.output, timesteps, samples)
        return terms

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Add up ``terms`` with their weights λ (MagiCapture, eq. 6)."""
        config = self.config
        weights = {"attention": config.attention_weight, "identity": config.identity_weight * config.identity_every}
        return reduce(torch.add, (weights.get(name, 1.0) * term for name, term in terms.items()))

    def _identity(self, noisy: Tensor, output: Tensor, timesteps: Tensor, samples: Samples) -> Tensor:
        """Compare what the prediction implies with the subject, on samples of ``config.identity_tasks``.

        The landmarks are those of the picture that was noised, known beforehand. Weighted by ``Schedule.trust``. What
        is judged, and where, is known on the CPU: nothing waits for a GPU.
        """
        schedule, config = self.base.schedule, self.config
        share = schedule.share(timesteps)
        judged = torch.tensor([task in config.identity_tasks for task in samples.tasks])
        chosen = (judged & (share >= config.identity_from) & (share < config.identity_limit)).nonzero()[:, 0]
        chosen = chosen[share[chosen].argsort()][: config.identity_images]
        if len(chosen) == 0:
            return output.sum() * 0
        there = self.base.put(chosen)
        x0 = schedule.predict_x0(noisy[there], output[there], timesteps[chosen])
        scale, landmarks = self.base.resolution // x0.shape[-1], samples.landmarks[chosen]
        assert self.critic is not None
        rows, columns = self.critic.window(landmarks, x0.shape[-2], x0.shape[-1], scale)
        decoded = self.base.decode(x0[:, :, rows, columns])
        origin = landmarks.new_tensor([columns.start, rows.start]) * scale
        embeddings = self.critic(decoded, landmarks - origin, samples.masks[there][:, :, rows, columns])
        return identity_loss(embeddings, self.person, self.base.put(schedule.trust(timesteps[chosen])))


def teaches_style(tasks: list[str], place: int) -> bool:
    """Tell whether a sample of a batch is there for the style alone; one composed one is there for its face too."""
    return tasks[place] == "reference" or (tasks[place] == "composed" and "composed" in tasks[:place])
