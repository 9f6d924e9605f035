"""The embedded base's autoencoder: a transform of pictures that needs no training, and a decoder that does."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from magicapture.bases.linear import as_convolution
from magicapture.faces.builtin import RECOGNISER
from magicapture.faces.recogniser import align
from magicapture.features import image_features, perceptual_distance
from magicapture.mini.config import MiniConfig, VaeConfig
from magicapture.mini.data import LANDMARKS, Portraits
from magicapture.mini.discriminator import Discriminator
from magicapture.mini.klt import write_klt
from magicapture.mini.stage import DEVICE, Stage, autocast, run_stage

Redraw = Callable[[Tensor, list[dict]], Tensor]

KLT_SAMPLES = 900
"""Portraits from which the transform is computed."""


def new_vae(config: VaeConfig) -> AutoencoderKL:
    """Build an untrained autoencoder; attention in its middle costs much here and is left out."""
    blocks = len(config.channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=config.channels,
        layers_per_block=config.layers,
        latent_channels=config.latent_channels,
        norm_num_groups=config.groups,
        sample_size=config.size,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def start_vae(config: MiniConfig, portraits: Portraits, run: Path) -> AutoencoderKL:
    """Compute the encoder from ``portraits`` and save it with an untrained decoder as ``run/vae``."""
    vae = new_vae(config.vae).eval()
    write_klt(vae, portraits.images(portraits.draw(KLT_SAMPLES)).cpu())
    vae.save_pretrained(run / "vae")
    return vae


class Encoder(nn.Module):
    """The encoder of ``vae`` as the one convolution that it is."""

    weight: Tensor
    bias: Tensor

    def __init__(self, vae: AutoencoderKL) -> None:
        """Ask the encoder what it answers to single pixels."""
        super().__init__()
        weight, bias = as_convolution(vae)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, images: Tensor) -> Tensor:
        """Give the latents (B, K, S/16, S/16) of ``images`` (B, 3, S, S) in [-1, 1]."""
        return F.conv2d(images, self.weight, self.bias, stride=self.weight.shape[-1])


class Likeness(nn.Module):
    """How far a decoded portrait is from its original: pixels, early ImageNet features, and whose face it is."""

    def __init__(self, config: VaeConfig) -> None:
        """Load the networks that look at the pictures."""
        super().__init__()
        self.config = config
        self.features, self.recogniser = image_features().to(DEVICE), RECOGNISER.load().to(DEVICE)

    def forward(self, decoded: Tensor, images: Tensor, landmarks: Tensor | None) -> Tensor:
        """Give the weighted sum for ``decoded`` and ``images``, both (B, 3, S, S) around [-1, 1].

        ``landmarks``: (5, 2) in pixels, those of every picture; None where they show no whole face.
        """
        spread = perceptual_distance(self.features, decoded, images)
        near = F.l1_loss(decoded, images) + self.config.perceptual * spread
        if landmarks is None:
            return near
        judged = min(self.config.identity_images, len(images))
        both = torch.cat([decoded[:judged], images[:judged]])
        ours, theirs = self.recogniser(align(both, landmarks.to(DEVICE).expand(2 * judged, 5, 2))).chunk(2)
        return near + self.config.identity * (1 - (ours * theirs.detach()).sum(dim=1).mean())


def train_decoder(
    config: MiniConfig, portraits: Portraits, vae: AutoencoderKL, run: Path, redraw: Redraw | None = None
) -> None:
    """Train the decoder, the encoder fixed; towards the end until a discriminator takes what it gives for pictures.

    It sees windows, most of them on the face, in the last fifth whole pictures. Latents are noised a little: those that
    are drawn are not exact either. The discriminator's gradient is scaled to the size of the likeness's (Esser et al.,
    2021, "Taming Transformers", eq. 7; here at the pixels). It is in no checkpoint: going on starts with a new one.
    Writes the whole autoencoder to ``run/vae-trained``, or, with ``redraw``, which takes latents and attributes and
    gives latents as the denoiser draws them, to ``run/vae-mended``.
    """
    name, folder = ("mended", "vae-mended") if redraw else ("decoder", "vae-trained")
    settings = config.mending if redraw else config.vae
    encoder = Encoder(vae).to(DEVICE)
    vae.to(DEVICE, memory_format=torch.channels_last).requires_grad_(False)
    trained = nn.ModuleList([vae.decoder, vae.post_quant_conv]).requires_grad_(True)
    stage = Stage.new(name, trained, settings.lr, settings.ema)
    likeness, judge = Likeness(settings), Discriminator().to(DEVICE)
    optimizer = torch.optim.AdamW(judge.heads(), lr=settings.discriminator_lr, betas=(0.5, 0.9), fused=True)

    def loss_of() -> Tensor:
        done = stage.step / settings.steps
        images, attributes = portraits.draw_images(settings.batch)
        latents = encoder(images)
        if redraw:
            latents = redraw(latents, attributes)
        rows, columns, landmarks = draw_window(settings, whole=done >= settings.whole_from)
        scale = images.shape[-1] // latents.shape[-1]
        images = images[:, :, rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale]
        images = images.contiguous(memory_format=torch.channels_last)
        latents = latents[:, :, rows, columns]
        spread = settings.noise * torch.rand(len(latents), 1, 1, 1, device=DEVICE)
        with autocast():
            decoded = vae.decode(latents + spread * torch.randn_like(latents)).sample.float()
        if done < settings.adversarial_from:
            return likeness(decoded, images, landmarks)
        with autocast():
            real, drawn = judge(images), judge(decoded.detach())
        (F.relu(1 - real).mean() + F.relu(1 + drawn).mean()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen = decoded.detach().requires_grad_()  # gradients meet at the pixels and go through the decoder once
        near = likeness(seen, images, landmarks)
        with autocast():
            doubt = -judge(seen).mean()
        wanted, pushed = (torch.autograd.grad(term, seen)[0] for term in (near, doubt))
        share = wanted.norm() / (pushed.norm() + 1e-12)
        through = (decoded * (wanted + settings.adversarial * share * pushed)).sum()
        return near.detach() + through - through.detach()

    minutes = config.minutes_between_checkpoints
    run_stage(stage, settings.steps, settings.lr, lambda: stage.optimizer_step(loss_of()), run, minutes)
    vae.save_pretrained(run / folder)


def draw_window(config: VaeConfig, *, whole: bool) -> tuple[slice, slice, Tensor | None]:
    """Draw rows and columns of latents to look at, three times in four on the face; the landmarks in their pixels."""
    side, scale = config.size >> (len(config.channels) - 1), 1 << (len(config.channels) - 1)
    landmarks = LANDMARKS * config.size
    if whole:
        return slice(0, side), slice(0, side), landmarks
    room = side - config.window
    if torch.rand(()) < 0.75:
        middle = (landmarks.mean(dim=0) / scale - config.window / 2).round().int() + torch.randint(-1, 2, (2,))
        left, top = middle.clamp(0, room).tolist()
        found = landmarks - torch.tensor([left, top]) * scale
    else:
        (left, top), found = torch.randint(room + 1, (2,)).tolist(), None
    return slice(top, top + config.window), slice(left, left + config.window), found
