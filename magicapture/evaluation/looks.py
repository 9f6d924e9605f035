"""What looks are compared by: ImageNet features that come with the app, or CLIP where it can be downloaded."""

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from magicapture.scoring import style_features

CLIP = "openai/clip-vit-large-patch14"
AESTHETIC_HEAD = "https://github.com/LAION-AI/aesthetic-predictor/raw/main/sa_0_4_vit_l_14_linear.pth"
"""LAION's linear layer from CLIP's embedding to a mark of 1 to 10; MIT."""


class Look(Protocol):
    """Turns pictures into vectors of length 1 whose cosine compares them."""

    def features(self, image: Image.Image, mask: np.ndarray | None) -> Tensor:
        """Give the vector (F,); where ``mask`` (H, W, of the picture's size) is 1, the picture does not count."""

    def aesthetic(self, image: Image.Image) -> float | None:
        """Give LAION's aesthetic mark, about 1 to 10, or None where it is not to be had."""


class ImageNetLook:
    """Early features of a small network: colours, strokes, grain and light. It is also what training previews score."""

    def features(self, image: Image.Image, mask: np.ndarray | None) -> Tensor:
        """Give ``style_features``."""
        return style_features(image, mask)

    def aesthetic(self, _image: Image.Image) -> None:
        """Give None: the mark is made for CLIP."""


class ClipLook:
    """CLIP's image embedding (Radford et al., 2021), as in the paper; with LAION's aesthetic predictor."""

    def __init__(self, source: str = CLIP, head: str = AESTHETIC_HEAD) -> None:
        """Load both, downloading what is not there. Raises ``OSError`` when they are not to be had."""
        self.model = CLIPVisionModelWithProjection.from_pretrained(source).eval().requires_grad_(False)
        self.processor = CLIPImageProcessor.from_pretrained(source)
        self.head = nn.Linear(self.model.config.projection_dim, 1).requires_grad_(False)
        self.head.load_state_dict(torch.hub.load_state_dict_from_url(head, map_location="cpu", weights_only=True))

    def features(self, image: Image.Image, mask: np.ndarray | None) -> Tensor:
        """Embed the picture, with the mean colour of CLIP's training pictures in place of what is masked."""
        pixels = np.asarray(image.convert("RGB"), float)
        if mask is not None:
            mean = 255 * np.array(self.processor.image_mean)
            pixels = pixels + mask[..., None] * (mean - pixels)
        inputs = self.processor(Image.fromarray(pixels.round().astype(np.uint8)), return_tensors="pt")
        return F.normalize(self.model(**inputs).image_embeds[0], dim=0)

    def aesthetic(self, image: Image.Image) -> float:
        """Give the mark of the whole picture."""
        return float(self.head(self.features(image, None)))


LOOKS: dict[str, type[Look]] = {"imagenet": ImageNetLook, "clip": ClipLook}
