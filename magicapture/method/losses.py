"""Masked reconstruction, attention refocusing and identity: pure functions on tensors."""

import torch.nn.functional as F
from torch import Tensor


def masked_mse(prediction: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Give the mean squared error inside a mask, per sample: ``Σ M (ε − ε_θ)² / Σ M`` (MagiCapture, eq. 2 and 3).

    ``prediction``, ``target``: (B, C, h, w); ``masks``: (B, 1, h, w) in [0, 1]. Returns (B,).
    """
    error = (prediction.float() - target.float()).square().mean(dim=1, keepdim=True)
    return (error * masks).sum(dim=(1, 2, 3)) / masks.sum(dim=(1, 2, 3)).clamp(min=1e-6)


def scaled_maps(maps: Tensor) -> Tensor:
    """Scale attention maps (…, Q) to [0, 1] each.

    Minimum and range are constants to the gradient, as in the authors' code.
    """
    low = maps.amin(dim=-1, keepdim=True).detach()
    high = maps.amax(dim=-1, keepdim=True).detach()
    return (maps - low) / (high - low + 1e-6)


def refocusing_loss(maps: Tensor, present: Tensor, masks: Tensor, *, heads_together: bool = False) -> Tensor:
    """Attention refocusing (MagiCapture, eq. 5): ``‖S(A) ⊙ (1 − M)‖²``, the mean over layers, heads, words and places.

    ``maps``: (W, layers, B, heads, side²), scaled to [0, 1] each; ``present``: (W, B), which words each prompt has:
    only they count, and without any the loss is 0. ``masks``: (W, B, side, side) with 1 where the word may look; inside
    it the map stays free. ``heads_together`` averages over heads before the square, as the authors' code does, instead
    of after it: a single head may then look elsewhere.
    """
    scaled = scaled_maps(maps).transpose(1, 2)  # (W, B, layers, heads, side²)
    if heads_together:
        scaled = scaled.mean(dim=3, keepdim=True)
    outside = (scaled * (1 - masks.flatten(2))[:, :, None, None]).square().mean(dim=(2, 3, 4))
    of_word = (outside * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
    return of_word.sum() / present.any(dim=1).sum().clamp(min=1)


def identity_loss(embeddings: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Give ``1 − cos`` between faces and the person, weighted per sample (MagiCapture, eq. 4).

    ``embeddings``: (B, D) unit vectors; ``target``: (D,) or (B, D) unit vectors; ``weights``: (B,).
    Returns the sum over the samples divided by B, so that a sample of weight 0 counts as one without error.
    """
    return ((1 - (embeddings * target).sum(dim=1)) * weights).mean()


def shrunk_faces(images: Tensor, landmarks: Tensor, eye_distance: float) -> tuple[Tensor, Tensor]:
    """Average whole pixels until the eyes are hardly further apart than ``eye_distance`` pixels, but not nearer.

    Warping a large face onto a small square by bilinear sampling skips most of its pixels: what the recogniser then
    sees is grain, and so is its gradient. ``images``: (B, 3, H, W); ``landmarks``: (B, 5, 2) in their pixels. Gives
    both at the new size.
    """
    eyes = (landmarks[:, 1] - landmarks[:, 0]).norm(dim=1).amin()
    factor = max(1, int(eyes / eye_distance))
    return F.avg_pool2d(images, factor, ceil_mode=True), (landmarks + 0.5) / factor - 0.5


def pull_norms(rows: Tensor, norm: Tensor, share: float) -> None:
    """Move the length of each of ``rows`` (K, D), in place, a ``share`` in [0, 1] of the way to ``norm``.

    A learned word that grows much longer than those of the vocabulary drowns the rest of the prompt. So does the
    authors' code, with 0.4 for Stable Diffusion.
    """
    lengths = rows.norm(dim=1, keepdim=True).clamp(min=1e-6)
    rows.mul_(1 + share * (norm / lengths - 1))


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
