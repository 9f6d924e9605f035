"""Masked reconstruction and identity: pure functions on tensors."""

from torch import Tensor


def masked_mse(prediction: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Give the mean squared error inside a mask, per sample: ``Σ M (ε − ε_θ)² / Σ M`` (MagiCapture, eq. 2 and 3).

    ``prediction``, ``target``: (B, C, h, w); ``masks``: (B, 1, h, w) in [0, 1]. Returns (B,).
    """
    error = (prediction.float() - target.float()).square().mean(dim=1, keepdim=True)
    return (error * masks).sum(dim=(1, 2, 3)) / masks.sum(dim=(1, 2, 3)).clamp(min=1e-6)


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
