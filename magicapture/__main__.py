"""Command line: ``python -m magicapture check | train | generate | score | evaluate | study | bench | staff``.

Progress goes to standard error; the last line of standard output is one JSON object.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from magicapture.adapters.adapter import Adapter, AdapterError
from magicapture.bases import MINI, Base, BaseError, load_base, resolve_base
from magicapture.config import TERMS, GenerateConfig
from magicapture.drawing.credentials import credentials
from magicapture.drawing.generation import generate
from magicapture.evaluation.bench import bench, peak_memory_gb
from magicapture.evaluation.forecast import forecast
from magicapture.faces import load_engine
from magicapture.method.training import Checkpoint, Training
from magicapture.photos.reading import PhotoError, photos_in, read_photo
from magicapture.photos.references import CheckedSet, Role, check_photos
from magicapture.photos.subjects import load_subject
from magicapture.scoring import Targets, likeness_in_words, score
from magicapture.server import plans
from magicapture.staff import command as staff
from magicapture.subject import PERSON_NOUN, Subject

CHECKPOINT_FILE = "checkpoint.pt"
CHECKPOINT_EVERY = 50
"""Steps between two checkpoints."""


class UsageError(Exception):
    """Something that whoever typed the command can mend; shown as one sentence."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = build_parser().parse_args(arguments)
    try:
        result, status = args.run(args)
    except (UsageError, AdapterError, BaseError, ValueError) as error:
        print(error, file=sys.stderr)
        result, status = {"error": str(error)}, 1
    print(json.dumps(result))
    return status


def pictures_in(paths: list[Path]) -> list[Path]:
    """Replace each folder by the pictures in it, by name. Raises ``UsageError`` when nothing is left."""
    found = []
    for path in paths:
        found.extend(photos_in(path) if path.is_dir() else [path])
    missing = [path.name for path in found if not path.is_file()]
    if missing or not found:
        raise UsageError(
            f"No such photo: {', '.join(missing)}." if missing else "There are no pictures in that folder."
        )
    return found


def checked(folder: Path, role: Role, subject: Subject, side: int) -> CheckedSet:
    """Check the photos in ``folder`` and show their faults. Raises ``UsageError`` when they cannot be used."""
    photos = check_photos(pictures_in([folder]), role, subject, side)
    for verdict in photos.verdicts:
        if verdict.problems:
            print(verdict.sentence, file=sys.stderr)
    if not photos.usable:
        raise UsageError(photos.problem)
    return photos


def run_check(args: argparse.Namespace) -> tuple[dict, int]:
    """Give a verdict per photo; status 1 if they cannot be used as a set."""
    photos = check_photos(pictures_in(args.photos), args.role, load_subject(args.subject), 256)
    for verdict in photos.verdicts:
        print(verdict.sentence)
    for line in (*photos.warnings, photos.problem):
        if line:
            print(line)
    verdicts = [
        {"photo": v.name, "status": v.status, "problems": [p.code for p in v.problems]} for v in photos.verdicts
    ]
    return {"usable": photos.usable, "photos": verdicts}, 0 if photos.usable else 1


def run_train(args: argparse.Namespace) -> tuple[dict, int]:
    """Train an adapter and save it."""
    base, subject = load_base(args.base), load_subject(args.subject)
    base.spec.require(subject.noun)
    preset = base.spec.presets[args.preset]
    config = replace(preset, seed=args.seed, off=frozenset(args.off), keep_photos=args.keep_photos)
    if args.steps:
        config = config.with_steps(args.steps)
    person = checked(args.person, "person", subject, base.resolution).references
    style = checked(args.style, "style", subject, base.resolution).references
    checkpoint = args.out / CHECKPOINT_FILE
    args.out.mkdir(parents=True, exist_ok=True)
    with Training(base, subject, person, style, config) as training:
        if args.resume and checkpoint.exists():
            training.restore(plans.load(checkpoint, Checkpoint))
        show_progress(training, checkpoint)
        adapter = training.adapter()
    adapter.save(args.out)
    checkpoint.unlink(missing_ok=True)
    kept = {
        "adapter": str(args.out),
        "base": base.spec.name,
        "steps": config.steps,
        "best_step": adapter.info.best_step,
    }
    return {**kept, "previews": adapter.info.scores, "peak_memory_gb": round(peak_memory_gb(), 2)}, 0


def show_progress(training: Training, checkpoint: Path) -> None:
    """Drive ``training`` to its end under a progress bar; an interrupt stops it early and keeps what was learned."""
    bar = tqdm(total=training.config.steps, initial=training.progress.step, unit="step")
    try:
        for event in training:
            bar.update()
            bar.set_description(event.phase)
            bar.set_postfix({name: f"{value:.3f}" for name, value in event.losses.items()}, refresh=False)
            for portrait in event.previews:
                bar.write(
                    f"step {event.step}: likeness {portrait.likeness:.2f}, style {portrait.style:.2f}", sys.stderr
                )
            if event.step % CHECKPOINT_EVERY == 0:
                plans.save(training.checkpoint(), checkpoint)
    except KeyboardInterrupt:
        print("Stopped early; keeping what was learned.", file=sys.stderr)
    finally:
        bar.close()


def run_generate(args: argparse.Namespace) -> tuple[dict, int]:
    """Draw portraits with an adapter and save them as PNG."""
    credentials()  # so that a certificate that will not do is known before the drawing
    adapter = Adapter.load(args.adapter)
    base = load_base(adapter.info.base if args.base is None else args.base)
    config = GenerateConfig(
        count=args.count,
        best_of=args.best_of,
        prompt=args.prompt,
        negative_prompt=args.negative_prompt,
        seed=args.seed,
        dial=args.dial,
        strength=args.strength,
        steps=args.steps,
        upscale=args.upscale,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    subject = load_subject(adapter.info.subject)
    for place, portrait in enumerate(generate(base, subject, adapter, config), start=1):
        path = portrait.save(args.out / f"{place:02d}_seed{portrait.seed}.png")
        print(f"{path.name}: {said_of(portrait.likeness, subject)}", file=sys.stderr)
        rows.append({"file": str(path), "seed": portrait.seed, "likeness": portrait.likeness, "style": portrait.style})
    return {"portraits": rows}, 0


def run_score(args: argparse.Namespace) -> tuple[dict, int]:
    """Score pictures against photos of a person and, if given, a style."""
    subject = load_subject(args.subject)
    person = checked(args.person, "person", subject, 256).references
    style = checked(args.style, "style", subject, 256).references if args.style else []
    targets = Targets.of(person, style or person, subject)
    rows: list[dict] = []
    for path in pictures_in(args.images):
        try:
            picture, _ = read_photo(path)
        except PhotoError as error:
            raise UsageError(f"{path.name}: {error}") from error
        scores = score(picture, targets, subject)
        rows.append({"file": path.name, "likeness": scores.likeness} | ({"style": scores.style} if style else {}))
        print(f"{path.name}: {said_of(scores.likeness, subject)}", file=sys.stderr)
    names = ("likeness", "style") if style else ("likeness",)
    return {"images": rows, "mean": {name: sum(row[name] for row in rows) / len(rows) for name in names}}, 0


def said_of(likeness: float | None, subject: Subject) -> str:
    """Say what a likeness means; of things there is only the number, for no judge has told what it means."""
    if subject.noun == PERSON_NOUN or likeness is None:
        return likeness_in_words(likeness)
    return f"likeness {likeness:.2f}"


def run_bench(args: argparse.Namespace) -> tuple[dict, int]:
    """Time a training step and a portrait, or count what they would cost."""
    if args.meta:
        spec = resolve_base(args.base)
        return {"base": spec.name, "device": "meta", **forecast(spec)}, 0
    base: Base = load_base(args.base)
    return {"base": base.spec.name, "device": str(base.device), **bench(base, load_engine())}, 0


def run_evaluate(args: argparse.Namespace) -> tuple[dict, int]:
    """Compare methods as a plan says and write the report."""
    from magicapture.evaluation import compare, plan, report  # noqa: PLC0415  they need the judge's own packages

    comparison = compare.Comparison(plan.load_plan(args.plan), args.data, args.out)
    results = list(comparison.run())
    command = ["evaluate", "--plan", args.plan, "--data", args.data.name, "--out", args.out.name]
    return {"report": str(report.write_report(comparison, results, command)), "cells": len(results)}, 0


def run_study(args: argparse.Namespace) -> tuple[dict, int]:
    """Serve the blind study on what ``evaluate`` drew, until it is interrupted."""
    from magicapture.evaluation import plan, study  # noqa: PLC0415  as above

    page = study.build_study(plan.load_plan(args.plan), args.data, args.out)
    page.launch(allowed_paths=[str(args.data.resolve()), str(args.out.resolve())])
    return {"answers": str(args.out / study.ANSWERS)}, 0


def add_subject(parser: argparse.ArgumentParser) -> None:
    """Describe the option that several commands share."""
    what = 'what the photos are of, in English, such as "teapot"; of a thing, their background must be transparent'
    parser.add_argument("--subject", default=PERSON_NOUN, metavar="NOUN", help=what)


def build_parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    parser = argparse.ArgumentParser(prog="python -m magicapture", description=__doc__)
    commands = parser.add_subparsers(required=True)

    check = commands.add_parser("check", help="verdict per photo; exit 1 if unusable as a set")
    check.add_argument("photos", nargs="+", type=Path, help="photos, or folders of photos")
    check.add_argument("--role", choices=("person", "style"), default="person")
    add_subject(check)
    check.set_defaults(run=run_check)

    train = commands.add_parser("train", help="photos in, an adapter out")
    train.add_argument("--person", type=Path, required=True, help="folder with photos of the person or thing")
    train.add_argument("--style", type=Path, required=True, help="folder with photos in the look")
    train.add_argument("--out", type=Path, required=True, help="folder for the adapter")
    train.add_argument("--base", default="auto")
    train.add_argument("--preset", choices=MINI.presets, default="quick")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--steps", type=int, help="both phases together; the preset's number if left out")
    train.add_argument("--off", nargs="*", choices=TERMS, default=[], help="terms of the method to switch off")
    train.add_argument(
        "--keep-photos", action="store_true", help="in the adapter, so that portraits can start from them"
    )
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out, if there is one")
    add_subject(train)
    train.set_defaults(run=run_train)

    generate_ = commands.add_parser("generate", help="an adapter in, scored portraits out")
    generate_.add_argument("adapter", type=Path)
    generate_.add_argument("--out", type=Path, required=True)
    generate_.add_argument("--base", help="the adapter's own base if left out")
    generate_.add_argument("--count", type=int, default=4)
    generate_.add_argument("--best-of", type=int, default=1, help="candidates drawn for each portrait")
    generate_.add_argument("--prompt", default="", help='what to add, such as "with glasses"')
    generate_.add_argument("--negative-prompt", default="")
    generate_.add_argument("--seed", type=int, default=0)
    generate_.add_argument("--dial", type=float, default=0.5, help="0 = more like the style, 1 = more like the person")
    generate_.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help="below 1, start from a photo of the person under so much noise: hair, pose and glasses stay",
    )
    generate_.add_argument("--steps", type=int, help="of the sampler; as many as suit the base if left out")
    generate_.add_argument("--upscale", type=int, choices=(1, 2, 4), default=1)
    generate_.set_defaults(run=run_generate)

    score_ = commands.add_parser("score", help="likeness and style of pictures")
    score_.add_argument("images", nargs="+", type=Path, help="pictures, or folders of pictures")
    score_.add_argument("--person", type=Path, required=True)
    score_.add_argument("--style", type=Path)
    add_subject(score_)
    score_.set_defaults(run=run_score)

    for name, run, what in (
        ("evaluate", run_evaluate, "compare methods; writes a report"),
        ("study", run_study, "serve a blind comparison of what evaluate drew"),
    ):
        comparing = commands.add_parser(name, help=what)
        comparing.add_argument("--plan", default="default", help="default, tiny, paper, or a .toml file")
        comparing.add_argument("--data", type=Path, required=True, help="folder that the plan's patterns start from")
        comparing.add_argument("--out", type=Path, required=True, help="what is finished there is not computed again")
        comparing.set_defaults(run=run)

    bench_ = commands.add_parser("bench", help="what a step and a portrait cost")
    bench_.add_argument("--base", default=MINI.name)
    bench_.add_argument("--meta", action="store_true", help="count it without weights and without a GPU")
    bench_.set_defaults(run=run_bench)

    staff.add_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
