"""Layouts: how a photo of the person is laid out, in the colours of the look. Drawing starts from them.

Masks teach the person's face and everything else of the look, so nobody's hair, neck and shoulders are learned. A
layout says where they are and next to nothing of what they look like: a recoloured photo in ``SIDE`` × ``SIDE`` pixels.
"""

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from magicapture.photos.colours import transport
from magicapture.subject import Reference

SIDE = 8
SAMPLED = 64
"""Side to which pictures are made small before their colours are measured."""
LEAST_SPREAD = 1.0
"""Variance that every colour has at least: a picture of one colour would else be spread without end."""

LAYOUT = re.compile(f"[0-9a-f]{{{6 * SIDE**2}}}")
"""How a layout is written: its pixels row by row, each as HTML writes a colour."""


def layouts_of(person: Sequence[Reference], style: Sequence[Reference]) -> tuple[str, ...]:
    """Give the layout of each picture of ``person`` in the colours of all of ``style``."""
    look = np.concatenate([_pixels(reference.image, SAMPLED) for reference in style])
    layouts = []
    for reference in person:
        moved = recolour(_pixels(reference.image, SIDE), _pixels(reference.image, SAMPLED), look)
        layouts.append(moved.round().clip(0, 255).astype(np.uint8).tobytes().hex())
    return tuple(layouts)


def read_layouts(layouts: Sequence[str]) -> np.ndarray:
    """Give the pixels of ``layouts``, each a match of ``LAYOUT``: (L, SIDE, SIDE, 3) uint8."""
    return np.stack([np.frombuffer(bytes.fromhex(each), np.uint8).reshape(SIDE, SIDE, 3) for each in layouts])


def recolour(colours: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Move ``colours`` (N, 3) as ``source`` (S, 3) has to move to get the mean and covariance of ``target`` (T, 3)."""
    least = LEAST_SPREAD * np.eye(3)
    move = transport(np.cov(source.T) + least, np.cov(target.T) + least)
    return (colours - source.mean(axis=0)) @ move + target.mean(axis=0)


def _pixels(image: Image.Image, side: int) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BOX), float).reshape(-1, 3)
