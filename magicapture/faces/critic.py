"""The recogniser as it stands in the identity term: which part of a picture it has to see, and how that is aligned."""

import torch.nn.functional as F
from torch import Tensor

from magicapture.faces.recogniser import ARCFACE_TEMPLATE, Recogniser, align
from magicapture.subject import Critic

RECOGNISER_EYES = float((ARCFACE_TEMPLATE[1] - ARCFACE_TEMPLATE[0]).norm())
"""How far the eyes are apart in what the recogniser sees, in pixels."""


class FaceCritic(Critic):
    """Aligns faces by their five landmarks; their masks are not looked at."""

    def __init__(self, recogniser: Recogniser) -> None:
        """Embed with ``recogniser``."""
        super().__init__()
        self.recogniser = recogniser

    def forward(self, images: Tensor, landmarks: Tensor, masks: Tensor) -> Tensor:
        """See ``Critic.forward``; ``landmarks``: (B, 5, 2)."""
        del masks
        return self.recogniser(align(*shrunk_faces(images, landmarks, RECOGNISER_EYES)))

    def window(self, landmarks: Tensor, height: int, width: int, scale: int) -> tuple[slice, slice]:
        """See ``Critic.window``."""
        return face_window(landmarks, height, width, scale)


def shrunk_faces(images: Tensor, landmarks: Tensor, eye_distance: float) -> tuple[Tensor, Tensor]:
    """Average whole pixels until the eyes are hardly further apart than ``eye_distance`` pixels, but not nearer.

    Warping a large face onto a small square by bilinear sampling skips most of its pixels: what the recogniser then
    sees is grain, and so is its gradient. ``images``: (B, 3, H, W); ``landmarks``: (B, 5, 2) in their pixels. Gives
    both at the new size.
    """
    eyes = (landmarks[:, 1] - landmarks[:, 0]).norm(dim=1).amin()
    factor = max(1, int(eyes / eye_distance))
    return F.avg_pool2d(images, factor, ceil_mode=True), (landmarks + 0.5) / factor - 0.5


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
