"""The thing as a subject: cut out by a photo's alpha channel, found again where its features are."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from PIL import Image

from magicapture.messages import Message
from magicapture.settings import settings
from magicapture.square import Square, ellipse
from magicapture.subject import NOT_A_NOUN, NOUN, Problem, Reference, Severity, Sighting, Subject
from magicapture.things.critic import ThingCritic
from magicapture.things.networks import ThingNetwork, load_network
from magicapture.things.segmenter import SegmenterUnavailableError, find_thing

WIDER = 1.25
"""The crop is this much larger than the thing."""
SMALL, TINY = 80, 40
"""Things of fewer pixels on their long side are enlarged noticeably, or nothing is left to learn from."""
STRAY = 0.002
"""Share of a thing's pixels that may lie outside its box on each side: a few forgotten ones do not move it."""
MIDDLE = 0.6
"""Width of the ellipse in which a look's picture is expected to show the thing, if it does not say where."""
SHARES = (1.0, 0.75, 0.5)
"""Sides of the windows, as shares of the picture's, in which the thing is looked for."""

OPAQUE = 128
"""From this alpha (0–255) on a pixel shows the thing."""

NO_MASK = Problem(
    "no_mask",
    "unusable",
    "Nothing says which part of the photo is the thing.",
    "Paint over it on the page, or use a picture whose background is transparent, such as a PNG that was cut out.",
)
FOUND = "The mask was found by the thing's name: look at it, and paint over the photo where it is wrong."
NOTHING_LEFT = Problem(
    "nothing_left", "unusable", "The whole picture is transparent, or nearly.", "Cut the thing out again."
)


class Thing(Subject):
    """Something that is named by a noun, such as “teapot”."""

    def __init__(self, noun: str) -> None:
        """Name the thing. Raises ``ValueError`` for what is no short English noun, or if what compares is set wrong."""
        if not NOUN.fullmatch(noun):
            raise ValueError(Message(NOT_A_NOUN, name=noun[:40]))
        self.noun, self._network = noun, load_network()
        self.name = self.scored_by = self._network.name
        self.licence = self._network.licence

    def look(self, name: str, photo: Image.Image, cutout: Image.Image | None, size: int, *, own: bool) -> Sighting:
        """See ``Subject.look``: the thing's own photos have to say where it is, the look's pictures may."""
        notes: tuple[str, ...] = ()
        if cutout is None or (np.asarray(cutout) >= OPAQUE).all():
            if not own:
                return Sighting(self._in_the_middle(name, photo, size))
            found = self._search(photo)
            if isinstance(found, Problem):
                return Sighting(None, (found,))
            cutout, notes = found, (FOUND,)
        shown = np.asarray(cutout) >= OPAQUE
        if not shown.any():
            return Sighting(None, (NOTHING_LEFT,))
        box = _box(shown)
        long = float(max(box[2:] - box[:2]))
        problems = _size_problems(long) if own else ()
        if any(problem.severity == "unusable" for problem in problems):
            return Sighting(None, problems)
        centre, side = (box[:2] + box[2:]) / 2, WIDER * long
        if not own:
            side = float(min(photo.size))
            centre = centre.clip(side / 2 - 0.5, np.array(photo.size) - side / 2 - 0.5)
        square = Square(centre, np.array([side, 0.0]))
        return Sighting(self._cut_out(name, photo, cutout, square, size), problems, notes)

    def strangers(self, embeddings: np.ndarray) -> None:
        """See ``Subject.strangers``: no threshold was found that good sets pass (docs/findings.md)."""

    @torch.no_grad()
    def embed(self, image: Image.Image, mask: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """See ``Subject.embed``: the critic's own embedding, since there is no second network for things."""
        corners, masks = torch.from_numpy(landmarks)[None], torch.from_numpy(np.ascontiguousarray(mask))[None, None]
        return self.critic()(_tensor([image]), corners, masks)[0].numpy()

    @torch.no_grad()
    def find(self, image: Image.Image, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """See ``Subject.find``: of windows all over the picture, the one whose features are most like the thing's."""
        boxes = [box for share in SHARES for box in _windows(*image.size, share)]
        side, count = self._network.side, len(boxes)
        cuts = [image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS, box) for box in boxes]
        whole = torch.from_numpy(_corners(np.array([0.0, 0.0, side - 1, side - 1])))
        middle = torch.from_numpy(ellipse((side, side), (0, 0, side, side)))
        found = self.critic()(_tensor(cuts), whole.expand(count, 4, 2), middle.expand(count, 1, side, side)).numpy()
        best = int(np.argmax(found @ wanted))
        return ellipse(image.size, boxes[best]), found[best]

    def critic(self) -> ThingCritic:
        """See ``Subject.critic``."""
        return _critic(self._network)

    def _search(self, photo: Image.Image) -> Image.Image | Problem:
        """Find the thing by its name where this installation has a model for that; gives its mask, or what is wrong."""
        source = settings().segmenter
        if not source:
            return NO_MASK
        try:
            mask = find_thing(photo, self.noun, source)
        except SegmenterUnavailableError as error:
            return replace(NO_MASK, advice=str(error))
        return mask or replace(NO_MASK, message=Message("No {noun} was found in the photo.", noun=self.noun))

    def _in_the_middle(self, name: str, photo: Image.Image, size: int) -> Reference:
        """Take the middle of a picture that does not say where the thing would be."""
        low, high = size * (1 - MIDDLE) / 2, size * (1 + MIDDLE) / 2
        mask = ellipse((size, size), (low, low, high, high))
        return self._reference(name, Square.middle_of(photo).cut(photo, size), mask)

    def _cut_out(self, name: str, photo: Image.Image, alpha: Image.Image, square: Square, size: int) -> Reference:
        mask = np.asarray(square.cut(alpha.convert("RGB"), size).getchannel("R"), dtype=np.float32) / 255
        # Beyond its edges a picture is mirrored; what is seen of the thing there does not count.
        reach = (np.arange(size) + 0.5) / size * square.side - square.side / 2 + 0.5
        x, y = (middle + reach for middle in square.centre)
        columns, rows = (x > 0) & (x < photo.width), (y > 0) & (y < photo.height)
        return self._reference(name, square.cut(photo, size), mask * (rows[:, None] & columns))

    def _reference(self, name: str, image: Image.Image, mask: np.ndarray) -> Reference:
        corners = _corners(_box(mask))
        return Reference(name, image, mask, corners, self.embed(image, mask, corners), self.name)


@lru_cache(maxsize=1)
def _critic(network: ThingNetwork) -> ThingCritic:
    """Give the critic, once per process, on the CPU."""
    return ThingCritic(network).eval()


def _size_problems(long: float) -> tuple[Problem, ...]:
    """Judge the length of a thing's long side, in pixels."""
    if long >= SMALL:
        return ()
    severity: Severity = "unusable" if long < TINY else "warning"
    small = Message("The thing is only {n} pixels large.", n=round(long))
    return (Problem("thing_too_small", severity, small, "Use a larger photo, or one taken closer."),)


def _box(mask: np.ndarray) -> np.ndarray:
    """Give left, top, right and bottom (4,) of what a mask (H, W) shows, in pixels, but for stray ones."""
    shown = mask > 0.5 if (mask > 0.5).any() else mask >= mask.max()
    sides = []
    for axis in (0, 1):
        reached = shown.sum(axis=axis).cumsum() / shown.sum()
        sides.append((np.searchsorted(reached, STRAY, side="right"), np.searchsorted(reached, 1 - STRAY)))
    (left, right), (top, bottom) = sides
    return np.array([left, top, right, bottom], dtype=np.float32)


def _corners(box: np.ndarray) -> np.ndarray:
    """Give the corners (4, 2) of a box (4,): the upper left and right one, the lower right and left one."""
    left, top, right, bottom = box
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float32)


def _windows(width: int, height: int, share: float) -> list[tuple[float, float, float, float]]:
    """Spread squares of a ``share`` of the short side over a picture, half overlapping, as boxes."""
    side = min(width, height) * share
    columns, rows = (max(1, round(2 * length / side) - 1) for length in (width, height))
    return [
        (x, y, x + side, y + side)
        for x in np.linspace(0, width - side, columns).tolist()
        for y in np.linspace(0, height - side, rows).tolist()
    ]


def _tensor(images: list[Image.Image]) -> torch.Tensor:
    """Give pictures of one size as (B, 3, H, W) in [-1, 1]."""
    pixels = np.stack([np.asarray(image.convert("RGB"), dtype=np.float32) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
