"""Carrying a plan out, cell by cell; what is finished stays on disk, so that a comparison can be broken off."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from magicapture.bases import Base, load_base, resolve_base
from magicapture.evaluation.judge import JUDGES
from magicapture.evaluation.looks import LOOKS
from magicapture.evaluation.methods import METHODS, Task
from magicapture.evaluation.metrics import Yardstick, attention_leak, diversity, measure
from magicapture.evaluation.plan import Cell, Plan, PlanError, picture_of, split
from magicapture.faces import FaceEngine, load_engine
from magicapture.photos.reading import photos_in, read_photo
from magicapture.photos.references import Reference, Role, check_photos


class Comparison:
    """A plan on the photos below ``data``, with its results below ``out``."""

    def __init__(self, plan: Plan, data: Path, out: Path) -> None:
        """Load the base.

        Raises ``PlanError`` for a method that is unknown or not offered on that base, a judge that is unknown or stands
        in the loss, a look that is unknown or cannot be had, and missing photos.
        """
        if unknown := {cell.method for cell in plan.cells()} - METHODS.keys():
            raise PlanError(f"There is no method {', '.join(sorted(unknown))}: choose from {', '.join(METHODS)}.")
        if plan.look not in LOOKS:
            raise PlanError(f"There is no look {plan.look}: choose from {', '.join(LOOKS)}.")
        spec = resolve_base(plan.base)
        if unfit := {cell.method for cell in plan.cells() if not METHODS[cell.method].offered(spec)}:
            raise PlanError(f"The base {spec.name} cannot be used with {', '.join(sorted(unfit))}: leave that out.")
        self.plan, self.out = plan, out
        self.people, self.styles = plan.folders(data)
        self.base: Base = load_base(plan.base)
        self.engine: FaceEngine = load_engine()
        if plan.judge not in JUDGES or plan.judge == self.engine.name:
            raise PlanError(
                f"{plan.judge} cannot judge the engine {self.engine.name}: choose from {', '.join(JUDGES)}."
            )
        try:
            self.look = LOOKS[plan.look]()
        except OSError as error:
            raise PlanError(f"The look {plan.look} cannot be loaded ({error}): take imagenet.") from error
        self.yardstick = lru_cache(maxsize=4)(self._yardstick)

    def run(self) -> Iterator[dict]:
        """Give the result of every cell, computing those that are not there yet."""
        for cell in tqdm(self.plan.cells(), unit="cell"):
            path = self.out / "cells" / f"{cell.name}.json"
            if not path.is_file():
                result = self._compute(cell)
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_suffix(".part")
                part.write_text(json.dumps(result, indent=1))
                part.replace(path)
            yield json.loads(path.read_text())

    def _compute(self, cell: Cell) -> dict:
        """Train, draw and measure one cell."""
        method, yardstick = METHODS[cell.method], self.yardstick(cell.person, cell.style)
        task = Task(
            self.base, self.engine, yardstick.person, yardstick.style, self.plan.preset, self.plan.steps, cell.seed
        )
        started = time.monotonic()
        with method.learn(task) as draw:
            learned = time.monotonic()
            images = draw(list(range(self.plan.images)))
            drawn = time.monotonic()
            leak = attention_leak(self.base, yardstick.style) if method.speaks else None
        self._keep(cell, images)
        return {
            **asdict(cell),
            "training_seconds": learned - started,
            "drawing_seconds": drawn - learned,
            "leak": leak,
            "diversity": diversity(images, yardstick.look),
            "real_likeness": yardstick.real_likeness,
            "photos_style": yardstick.photos_style,
            "own_style": yardstick.own_style,
            "portraits": [measure(image, yardstick, self.engine) for image in images],
        }

    def _keep(self, cell: Cell, images: list[Image.Image]) -> None:
        for place, image in enumerate(images):
            path = picture_of(self.out, cell, place)
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)

    def _yardstick(self, person: int, style: int) -> Yardstick:
        unseen, trained = split(photos_in(self.people[person]))
        references = self._checked(trained, "person"), self._checked(photos_in(self.styles[style]), "style")
        return Yardstick.of(
            [read_photo(path)[0] for path in unseen], *references, self.engine, JUDGES[self.plan.judge], self.look
        )

    def _checked(self, photos: list[Path], role: Role) -> list[Reference]:
        found = check_photos(photos, role, self.engine, self.base.resolution)
        if not found.references:
            raise PlanError(f"None of the photos in {photos[0].parent.name} can be used: {found.problem}")
        return found.references
