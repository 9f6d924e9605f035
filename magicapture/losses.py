"""Noise, masked reconstruction and identity: pure functions on tensors."""

import torch
from torch import Tensor


def masked_mse(prediction: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Give the mean squared error inside a mask, per sample: ``Σ M (ε − ε_θ)² / Σ M`` (MagiCapture, eq. 2 and 3).

    ``prediction``, ``target``: (B, C, h, w); ``masks``: (B, 1, h, w) in [0, 1]. Returns (B,).
    """
    error = (prediction.float() - target.float()).square().mean(dim=1, keepdim=True)
    return (error * masks).sum(dim=(1, 2, 3)) / masks.sum(dim=(1, 2, 3)).clamp(min=1e-6)


def draw_timesteps(late: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """Draw a timestep in [0, ``steps``) per sample: any alike, or the later of two where ``late`` (B,) is true.

    Layout, light and colours are settled while a picture is still mostly noise: what is to teach them is noised more.
    """
    first, second = torch.rand(2, len(late), generator=generator)
    share = torch.where(late, torch.maximum(first, second), first)
    return (share * steps).long().clamp(max=steps - 1)


def add_noise(clean: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Noise samples for training: ``√ᾱ_t z + √(1 − ᾱ_t) ε`` (DDPM, eq. 4).

    Not left to the pipeline's scheduler: a sampler such as DPM-Solver++ noises by its own list of steps, which is
    another one after every picture that is drawn. ``clean``, ``noise``: (B, C, h, w); ``alphas_cumprod``: (B,).
    """
    alpha = alphas_cumprod[:, None, None, None]
    return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise


def predict_x0(noisy: Tensor, noise_pred: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Undo the noise in one step: ``(z_t − √(1 − ᾱ_t) ε_θ) / √ᾱ_t`` (DDPM, eq. 15).

    ``noisy``, ``noise_pred``: (B, C, h, w); ``alphas_cumprod``: (B,), ᾱ at each sample's timestep.
    """
    alpha = alphas_cumprod[:, None, None, None]
    return (noisy - (1 - alpha).sqrt() * noise_pred) / alpha.sqrt()


def identity_loss(embeddings: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Give ``1 − cos`` between faces and the person, weighted per sample (MagiCapture, eq. 4).

    ``embeddings``: (B, D) unit vectors; ``target``: (D,) or (B, D) unit vectors; ``weights``: (B,).
    Returns the sum over the samples divided by B, so that a sample of weight 0 counts as one without error.
    """
    return ((1 - (embeddings * target).sum(dim=1)) * weights).mean()


def face_window(landmarks: Tensor, height: int, width: int, scale: int) -> tuple[slice, slice]:
    """Give the rows and columns of latents that show the faces and what the recogniser sees around them.

    ``landmarks``: (B, 5, 2) in pixels of pictures ``scale`` times the size of their latents (``height`` × ``width``).
    The recogniser's square is 3.2 times as wide as the eyes are apart; one more latent on each side keeps the
    decoder's padding out of it.
    """
    eyes = (landmarks[:, 1] - landmarks[:, 0]).norm(dim=1).amax()
    centre = landmarks.mean(dim=1)
    reach = 1.75 * eyes
    low = ((centre.amin(dim=0) - reach) / scale - 1).floor().int()
    high = ((centre.amax(dim=0) + reach) / scale + 1).ceil().int()
    left, top = (max(0, int(v)) for v in low)
    return slice(top, min(height, int(high[1]))), slice(left, min(width, int(high[0])))
