"""Masked reconstruction, attention refocusing and identity: pure functions on tensors."""

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


def pull_norms(rows: Tensor, norm: Tensor, share: float) -> None:
    """Move the length of each of ``rows`` (K, D), in place, a ``share`` in [0, 1] of the way to ``norm``.

    A learned word that grows much longer than those of the vocabulary drowns the rest of the prompt. So does the
    authors' code, with 0.4 for Stable Diffusion.
    """
    lengths = rows.norm(dim=1, keepdim=True).clamp(min=1e-6)
    rows.mul_(1 + share * (norm / lengths - 1))
