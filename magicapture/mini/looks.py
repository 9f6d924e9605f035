"""Procedural looks: a batch of photos as woodcuts, oil paintings, engravings and so on, drawn afresh at each use.

Each look is a family: ink, paper, screen, levels and strokes are drawn at random for each picture.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from magicapture.mini import drawn, printed


@dataclass(frozen=True)
class Look:
    """A look, its names in a caption, and how it is drawn.

    ``words`` open a caption ("a woodcut of a man"), ``style`` closes one ("in the woodcut style"); ``draw`` takes
    pictures (B, 3, H, W) in [0, 1]. A held-out look is never trained on: it shows how fast a new look is learned.
    """

    name: str
    style: str
    words: tuple[str, ...]
    draw: Callable[[Tensor], Tensor]
    held_out: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """Draw images (B, 3, H, W) in [-1, 1] in this look, (B, 3, H, W) in [-1, 1], float32."""
        return self.draw((images.float() + 1) / 2).clamp(0, 1) * 2 - 1


LOOKS: tuple[Look, ...] = (
    Look("oil painting", "oil painting", ("an oil painting", "a painting in oils"), drawn.oil_painting),
    Look("engraving", "engraving", ("an engraving", "a steel engraving"), printed.engraving),
    Look("sepia photograph", "sepia photograph", ("a sepia photograph", "an old photograph"), printed.sepia_photograph),
    Look(
        "black and white photograph",
        "black and white photograph",
        ("a black and white photograph", "a monochrome photograph"),
        printed.black_and_white_photograph,
    ),
    Look("drawing", "drawing", ("a drawing", "a pen drawing"), drawn.drawing),
    Look("charcoal", "charcoal", ("a charcoal drawing", "a charcoal sketch"), drawn.charcoal),
    Look("watercolor", "watercolor", ("a watercolor", "a watercolor painting"), drawn.watercolour),
    Look("gouache", "gouache", ("a gouache painting", "a flat gouache"), drawn.gouache),
    Look("comic", "comic book", ("a comic book panel", "a comic drawing"), printed.comic),
    Look("woodcut", "woodcut", ("a woodcut", "a linocut"), printed.woodcut),
    Look("halftone", "halftone", ("a halftone print", "a newspaper halftone"), printed.halftone),
    Look("duotone", "duotone", ("a duotone print", "a two-color print"), printed.duotone),
    Look("pastel", "pastel", ("a pastel drawing", "a soft pastel"), drawn.pastel),
    Look("ink wash", "ink wash", ("an ink wash painting", "a brush and ink painting"), drawn.ink_wash),
    Look("neon", "neon", ("a neon sign", "a glowing neon drawing"), drawn.neon),
    Look("pixel art", "pixel art", ("a pixel art portrait", "a picture in pixel art"), printed.pixel_art),
    Look("bronze", "bronze", ("a bronze relief", "a relief cast in bronze"), printed.bronze),
    Look("cyanotype", "cyanotype", ("a cyanotype", "a cyanotype print"), printed.cyanotype, held_out=True),
    Look(
        "stained glass",
        "stained glass",
        ("a stained glass window", "a stained glass picture"),
        drawn.stained_glass,
        held_out=True,
    ),
    Look("ukiyo-e", "ukiyo-e", ("a ukiyo-e print", "a Japanese color print"), printed.ukiyo_e, held_out=True),
    Look("pop art", "pop art", ("a pop art print", "a pop art poster"), printed.pop_art, held_out=True),
    Look(
        "pointillism",
        "pointillist",
        ("a pointillist painting", "a painting in dots"),
        drawn.pointillism,
        held_out=True,
    ),
    Look("chalk", "chalk", ("a chalk drawing", "a white chalk drawing"), drawn.chalk, held_out=True),
    Look("embroidery", "embroidery", ("an embroidery", "an embroidered picture"), drawn.embroidery, held_out=True),
)

TRAINED: tuple[Look, ...] = tuple(look for look in LOOKS if not look.held_out)
HELD_OUT: tuple[Look, ...] = tuple(look for look in LOOKS if look.held_out)


@torch.no_grad()
def apply_looks(images: Tensor, index: Tensor) -> Tensor:
    """Draw each of the images (B, 3, H, W) in [-1, 1] in the look at its ``index`` (B,) in ``LOOKS``; -1 leaves it.

    Pictures of one look are drawn together: fewer looks in a batch take less time, and an index on the CPU spares
    the GPU a wait.
    """
    drawn_images = images.clone()
    with torch.autocast(images.device.type, enabled=False):
        for number in index.unique().tolist():
            if number >= 0:
                chosen = (index == number).nonzero()[:, 0].to(images.device)
                drawn_images[chosen] = LOOKS[number](images[chosen]).to(images.dtype)
    return drawn_images
