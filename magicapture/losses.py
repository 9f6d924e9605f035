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


def refocusing_loss(maps: Tensor, present: Tensor, masks: Tensor) -> Tensor:
    """Attention refocusing (MagiCapture, eq. 5): ``‖S(A) ⊙ (1 − M)‖²``, the mean over samples, layers, heads, places.

    ``maps``: (layers, B, heads, side²) of one word; ``present``: (B,), whether the prompt has it: other samples do not
    count, and without any the loss is 0. ``masks``: (B, side, side) with 1 where the word may look; inside it the map
    stays free.
    """
    if not present.any():
        return maps.sum() * 0
    scaled = scaled_maps(maps)[:, present]
    return (scaled * (1 - masks[present].flatten(1))[:, None, :]).square().mean()


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
