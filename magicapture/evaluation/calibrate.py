"""What do scores mean? The app's likeness and style beside what an independent judge, dlib, says of the same pictures.

``python -m magicapture.evaluation.calibrate --data DATA`` compares the recognisers on pairs of photos of people.
``--plan PLAN --results OUT`` adds the portraits that ``evaluate`` drew with this ``--plan``, ``--data`` and ``--out``:
the words beside dlib's judgement, and whether the best of four by a score is better by dlib. Prints Markdown.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from magicapture.evaluation.judge import DLIB_SAME_PERSON, dlib_descriptor
from magicapture.evaluation.plan import Cell, Plan, load_plan, picture_of, split
from magicapture.evaluation.summary import Estimate
from magicapture.faces import FaceEngine, load_engine
from magicapture.faces.likeness import likeness_embedding
from magicapture.photos.reading import photos_in
from magicapture.photos.references import Reference, Role, check_photos, mean_embedding
from magicapture.scoring import LIKENESS_WORDS, Targets, likeness_in_words, score, worth

SIDE = 256
"""Photos are compared as crops of this many pixels a side."""
STRANGERS = 0.95
"""Share of strangers whose closeness by dlib a portrait must exceed to have something of the person."""
AGREE = 0.9
"""Share of portraits on which the words should agree with dlib."""
CANDIDATES = 4


@dataclass(frozen=True, eq=False)
class Photos:
    """Photos of several people: ``owner`` (N,) whose each is; by recogniser, ``alike`` (N, N) how alike any two are."""

    owner: np.ndarray
    alike: dict[str, np.ndarray]

    def pairs(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Give how alike pairs of one person's photos are, and pairs of strangers."""
        first, second = np.triu_indices(len(self.owner), 1)
        values, same = self.alike[name][first, second], self.owner[first] == self.owner[second]
        return values[same], values[~same]


def photos_of(people: list[Path], engine: FaceEngine) -> Photos:
    """Compare all usable photos by the engine's recogniser, by the one that scores, and by dlib (1 − distance)."""
    owner, first, second, judged = [], [], [], []
    for number, folder in enumerate(people):
        for reference in check_photos(photos_in(folder), "person", engine, SIDE).references:
            descriptor = dlib_descriptor(reference.image, engine)
            if descriptor is not None:
                owner.append(number)
                first.append(reference.embedding)
                second.append(likeness_embedding(reference.image, reference.landmarks))
                judged.append(descriptor)
    cosines = {name: np.array(e) @ np.array(e).T for name, e in (("in the loss", first), ("that scores", second))}
    distances = np.linalg.norm(np.array(judged)[:, None] - np.array(judged)[None], axis=2)
    return Photos(np.array(owner), {**cosines, "dlib": 1 - distances})


def equal_error_rate(same: np.ndarray, different: np.ndarray) -> tuple[float, float]:
    """Give the rate at which one person is missed as often as strangers are taken for one, and the threshold."""
    thresholds = np.unique(np.concatenate([same, different]))
    missed = np.array([(same < threshold).mean() for threshold in thresholds])
    taken = np.array([(different >= threshold).mean() for threshold in thresholds])
    place = np.abs(missed - taken).argmin()
    return float((missed[place] + taken[place]) / 2), float(thresholds[place])


def photo_tables(photos: Photos) -> Iterator[str]:
    """Tell how well each recogniser tells people apart, and how much they err together."""
    yield "| recogniser | EER | at | one person: mean, lowest | strangers: mean, 99 %, highest |\n|---|---|---|---|---|"
    for name in photos.alike:
        same, different = photos.pairs(name)
        rate, threshold = equal_error_rate(same, different)
        high = np.quantile(different, [0.99, 1])
        yield (
            f"| {name} | {rate:.2%} | {threshold:.2f} | {same.mean():.2f}, {same.min():.2f} "
            f"| {different.mean():.2f}, {high[0]:.2f}, {high[1]:.2f} |"
        )
    yield f"\n{len(same)} pairs of one person, {len(different)} of strangers.\n"
    yield "| correlation of | one person | strangers |\n|---|---|---|"
    for names in combinations(photos.alike, 2):
        both = zip(*map(photos.pairs, names), strict=True)
        found = [np.corrcoef(first, second)[0, 1] for first, second in both]
        yield f"| {names[0]}, {names[1]} | {found[0]:.2f} | {found[1]:.2f} |"


@dataclass(frozen=True)
class Judged:
    """One portrait: what the app would say of it, and what dlib says. ``flattery``: cosine by the loss's recogniser."""

    cell: Cell
    likeness: float
    style: float
    flattery: float
    dlib: float

    @property
    def word(self) -> str:
        """What a visitor would read."""
        return likeness_in_words(self.likeness)


def portraits_of(plan: Plan, data: Path, results: Path, engine: FaceEngine) -> Iterator[Judged]:
    """Score the portraits that ``evaluate`` left in ``results``, but no copied photos; without a face, dlib's is 0."""
    people, styles = plan.folders(data)

    @cache
    def references(folder: Path, role: Role) -> list[Reference]:
        photos = photos_in(folder)
        return check_photos(split(photos)[1] if role == "person" else photos, role, engine, SIDE).references

    for cell in plan.cells():
        path = results / "cells" / f"{cell.name}.json"
        if cell.method == "copy" or not path.is_file():
            continue
        person = references(people[cell.person], "person")
        targets = Targets.of(person, references(styles[cell.style], "style"), engine)
        for place, judged in enumerate(json.loads(path.read_text())["portraits"]):
            image = Image.open(picture_of(results, cell, place)).convert("RGB")
            faces, scores = engine.detect(image), score(image, targets, engine)
            flattery = float(faces[0].embedding @ mean_embedding(person)) if faces else 0.0
            yield Judged(cell, scores.likeness, scores.style, flattery, judged["likeness"] or 0.0)


def agrees(portrait: Judged, strangers: float) -> bool:
    """Say whether dlib bears out the word. ``strangers``: the closeness that few strangers exceed."""
    clearly, partly, _ = (word for _, word in LIKENESS_WORDS)
    if portrait.word == clearly:
        return portrait.dlib >= DLIB_SAME_PERSON
    return portrait.dlib >= strangers if portrait.word == partly else portrait.dlib < DLIB_SAME_PERSON


def word_tables(portraits: list[Judged], strangers: float) -> Iterator[str]:
    """Set the words beside dlib's judgement, and tell where their thresholds would agree with it best."""
    yield "| word | from | portraits | dlib: mean, lowest, highest | dlib agrees |\n|---|---|---|---|---|"
    for least, word in LIKENESS_WORDS:
        few = [portrait for portrait in portraits if portrait.word == word]
        if few:
            judged = np.array([portrait.dlib for portrait in few])
            share = np.mean([agrees(portrait, strangers) for portrait in few])
            spread = f"{judged.mean():.2f}, {judged.min():.2f}, {judged.max():.2f}"
            yield f"| {word} | {least:.2f} | {len(few)} | {spread} | {share:.0%} |"
    total = np.mean([agrees(portrait, strangers) for portrait in portraits])
    yield f"\nAgreement over all {len(portraits)}: {total:.1%}. A stranger by dlib: below {strangers:.2f}.\n"
    likeness, judged = (np.array([getattr(p, name) for p in portraits]) for name in ("likeness", "dlib"))
    ladder = np.arange(0.2, 0.9, 0.01)
    clearly = [
        t for t in ladder if (likeness >= t).any() and (judged[likeness >= t] >= DLIB_SAME_PERSON).mean() >= AGREE
    ]
    below = likeness < LIKENESS_WORDS[0][0]
    between = {t: judged[below & (likeness >= t)] for t in ladder}
    partly = [t for t, few in between.items() if len(few) and (few >= strangers).mean() >= AGREE]
    for word, found in ((LIKENESS_WORDS[0][1], clearly), (LIKENESS_WORDS[1][1], partly)):
        yield f"“{word}” would agree with dlib in {AGREE:.0%} from {min(found):.2f}." if found else f"“{word}”: never."
    yield "\n| method | portraits | dlib | likeness | in the loss | style |\n|---|---|---|---|---|---|"
    for method in dict.fromkeys(portrait.cell.method for portrait in portraits):
        few = [p for p in portraits if p.cell.method == method]
        means = [np.mean([getattr(p, name) for p in few]) for name in ("dlib", "likeness", "flattery", "style")]
        yield f"| {method} | {len(few)} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |"


CHOICES = {
    "nothing: all of them": None,
    "likeness": lambda p: p.likeness,
    "likeness and style, as the app ranks": lambda p: worth(p.likeness, p.style),
    "the recogniser in the loss": lambda p: p.flattery,
    "dlib itself: the ceiling": lambda p: p.dlib,
}


def best_of_table(portraits: list[Judged], method: str) -> Iterator[str]:
    """Tell what choosing the best of four portraits gains by dlib: the mean over cells and all fours within each."""
    cells = {p.cell: [q for q in portraits if q.cell == p.cell] for p in portraits if p.cell.method == method}
    yield f"| best of {CANDIDATES} by | dlib | gain, 95 % | style |\n|---|---|---|---|"
    for name, value in CHOICES.items():
        gains: list[float] = []
        judged: list[float] = []
        styles: list[float] = []
        for few in cells.values():
            best = [max(four, key=value) for four in combinations(few, CANDIDATES)] if value else few
            judged.append(float(np.mean([p.dlib for p in best])))
            styles.append(float(np.mean([p.style for p in best])))
            gains.append(float(judged[-1] - np.mean([p.dlib for p in few])))
        gain = Estimate.of(gains)
        interval = "{:+.3f} ({:+.3f} to {:+.3f})".format(*gain.measured)
        yield f"| {name} | {np.mean(judged):.3f} | {interval} | {np.mean(styles):.2f} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--plan", default="default")
    parser.add_argument("--results", type=Path, help="the --out of evaluate")
    parser.add_argument("--method", default="magicapture", help="whose best of four is looked at")
    args = parser.parse_args()
    plan, engine = load_plan(args.plan), load_engine("builtin")
    people = sorted(path for path in args.data.glob(plan.people) if path.is_dir())
    photos = photos_of(people, engine)
    print("\n## Pairs of photos\n", *photo_tables(photos), sep="\n")
    if args.results:
        portraits = list(portraits_of(plan, args.data, args.results, engine))
        strangers = float(np.quantile(photos.pairs("dlib")[1], STRANGERS))
        print("\n## Portraits\n", *word_tables(portraits, strangers), sep="\n")
        print("\n## The best of four\n", *best_of_table(portraits, args.method), sep="\n")


if __name__ == "__main__":
    main()
