"""``train``: photos in, an adapter out."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from magicapture.bases import MINI, load_base
from magicapture.commands.photos import add_subject, checked
from magicapture.config import TERMS
from magicapture.evaluation.bench import peak_memory_gb
from magicapture.method.training import Checkpoint, Training
from magicapture.photos.subjects import load_subject
from magicapture.server import plans

CHECKPOINT_FILE = "checkpoint.pt"
CHECKPOINT_EVERY = 50
"""Steps between two checkpoints."""


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser("train", help="photos in, an adapter out")
    parser.add_argument("--person", type=Path, required=True, help="folder with photos of the person or thing")
    parser.add_argument("--style", type=Path, required=True, help="folder with photos in the look")
    parser.add_argument("--out", type=Path, required=True, help="folder for the adapter")
    parser.add_argument("--base", default="auto")
    parser.add_argument("--preset", choices=MINI.presets, default="quick")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="both phases together; the preset's number if left out")
    parser.add_argument("--off", nargs="*", choices=TERMS, default=[], help="terms of the method to switch off")
    parser.add_argument(
        "--keep-photos", action="store_true", help="in the adapter, so that portraits can start from them"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out, if there is one")
    add_subject(parser)
    parser.set_defaults(run=run_train)


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
