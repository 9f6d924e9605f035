"""Where a thing is in a photo, by its name: CLIPSeg (Lüddecke and Ecker, 2022), for photos that nobody has masked."""

from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

from magicapture.bases.loading import MISSING, here_alone
from magicapture.messages import Message

SHOWN = 0.4
"""From this probability on a place shows the thing, as CLIPSeg's authors cut their maps; not measured here."""
LEAST = 0.002
"""Share of a photo below which that is nothing."""


class SegmenterUnavailableError(Exception):
    """The model cannot be had here; the text says what to do instead."""


def find_thing(photo: Image.Image, noun: str, source: str) -> Image.Image | None:
    """Give the mask of what ``noun`` names in an RGB photo, in mode L and of its size; None if it is not there.

    ``source``: a CLIPSeg model on the Hub, or a folder with one. Raises ``SegmenterUnavailableError``.
    """
    processor, model = _load(source)
    inputs = processor(text=[f"a photo of a {noun}"], images=[photo], return_tensors="pt")
    with torch.no_grad():
        probability = model(**inputs).logits.reshape(model.config.vision_config.image_size, -1).sigmoid().numpy()
    if (probability >= SHOWN).mean() < LEAST:
        return None
    soft = Image.fromarray((probability * 255).astype(np.uint8)).resize(photo.size, Image.Resampling.BICUBIC)
    return soft.point(lambda value: 255 * (value >= SHOWN * 255))


@lru_cache(maxsize=1)
def _load(source: str) -> tuple[CLIPSegProcessor, CLIPSegForImageSegmentation]:
    """Load the model, once per process, on the CPU."""
    try:
        here = here_alone(source)
        processor = CLIPSegProcessor.from_pretrained(source, local_files_only=here)
        model = CLIPSegForImageSegmentation.from_pretrained(source, local_files_only=here)
        return processor, model.eval().requires_grad_(False)
    except MISSING as error:
        lacking = (
            "The model {source}, which finds things in photos, is neither on this machine nor to be had from here. "
            "Paint over the photo, or use a picture whose background is transparent."
        )
        raise SegmenterUnavailableError(Message(lacking, source=source)) from error
