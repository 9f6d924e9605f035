"""The tab Train: a preset, a start, and what happens while it runs."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import gradio as gr

from magicapture.adapter import AdapterError
from magicapture.bases import SPECS, BaseUnavailableError, load_base
from magicapture.config import PRESETS, TERMS, TrainConfig
from magicapture.gpu import train_adapter, training_seconds
from magicapture.references import CheckedSet, Reference
from magicapture.ui.live import Live, loss_plot, progress_bar
from magicapture.ui.session import Session, new_folder
from magicapture.ui.words import duration, note, section

PURPOSES = {
    "quick": "Quick: a first result in minutes. Start here.",
    "balanced": "Balanced: about three times as long, a steadier likeness.",
    "paper": "Paper: the schedule as published, for comparisons. Long.",
}
TERM_NAMES = {
    "identity": "Identity loss",
    "attention": "Attention refocusing",
    "composed": "Composed prompts",
    "tokens": "Phase 1 (tokens alone)",
}
MAX_STEPS = 10_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Trainer:
    """The parts of the tab that events speak to."""

    preset: gr.Radio
    base: gr.Dropdown
    seed: gr.Number
    steps: gr.Number
    off: gr.CheckboxGroup
    ready: gr.HTML
    start: gr.Button
    stop: gr.Button
    progress: gr.HTML
    losses: gr.HTML
    previews: gr.Gallery
    done: gr.Column
    result: gr.HTML
    download: gr.DownloadButton
    onwards: gr.Button


@dataclass(frozen=True, eq=False)
class Plan:
    """A training that was asked for and may start."""

    base: str
    person: list[Reference]
    style: list[Reference]
    config: TrainConfig
    stop: Path


def build(base: str) -> Trainer:
    """Lay the tab out; ``base`` is the name of the base that is chosen at first. ``connect`` has to follow."""
    gr.HTML(section("How long may it take?", "More steps make the likeness steadier. You can stop at any time."))
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            choices = [(sentence, name) for name, sentence in PURPOSES.items()]
            preset = gr.Radio(choices, value="quick", label="Preset", elem_id="preset")
            advanced = _build_advanced(base)
            ready = gr.HTML(_ready(None, None, base, PRESETS["quick"]), elem_id="ready", min_height=60)
            with gr.Row():
                start = gr.Button("Start training", variant="primary", elem_id="start-training")
                stop = gr.Button("Stop and keep", interactive=False, elem_id="stop-training")
        with gr.Column(min_width=300):
            progress = gr.HTML(progress_bar(None), elem_id="progress")
            losses = gr.HTML(loss_plot({}, 1), elem_id="losses")
    gr.HTML(section("Previews", "Quick portraits while it trains; the best state is the one that is kept."))
    previews = gr.Gallery(
        label="Previews",
        show_label=False,
        columns=4,
        height=290,
        object_fit="contain",
        fit_columns=False,
        buttons=["fullscreen"],
        interactive=False,
        elem_id="previews",
    )
    with gr.Column(visible=False) as done:
        result = gr.HTML(elem_id="training-result")
        with gr.Row():
            download = gr.DownloadButton("Download the adapter (zip)", elem_id="download-adapter")
            onwards = gr.Button("Make portraits", variant="primary", elem_id="to-portraits")
    return Trainer(
        preset, *advanced, ready, start, stop, progress, losses, previews, done, result, download, onwards
    )  # fmt: skip


def _build_advanced(base: str) -> tuple[gr.Dropdown, gr.Number, gr.Number, gr.CheckboxGroup]:
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        names = {spec.name: spec.title for spec in SPECS.values()}
        names.setdefault(base, base)
        return (
            gr.Dropdown([(title, name) for name, title in names.items()], value=base, label="Base model"),
            gr.Number(0, label="Seed", info="The same seed gives the same adapter.", precision=0, minimum=0),
            gr.Number(
                0, label="Steps", info="0: as many as the preset has.", precision=0, minimum=0, maximum=MAX_STEPS,
                elem_id="steps",
            ),
            gr.CheckboxGroup(
                [(TERM_NAMES[term], term) for term in TERMS], label="Switch off", info="To see what each part does."
            ),
        )  # fmt: skip


def connect(trainer: Trainer, session: Session, tabs: gr.Tabs) -> None:
    """Wire the events. The check before the start waits for nobody; training takes its turn in the queue."""
    t = trainer
    settings = [session.person, session.style, t.base, t.preset, t.seed, t.steps, t.off]
    hidden = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
    changes = [part.change for part in (session.person, session.style, t.base, t.preset, t.steps, t.off)]
    gr.on(changes, show_ready, settings, t.ready, **hidden)
    plan = gr.State()
    begin = t.start.click(
        make_plan,
        [*settings, session.folder],
        [plan, session.folder],
        concurrency_limit=None,  # not queue=False: Gradio shows an error only of events that are queued
        show_progress="hidden",
        api_visibility="private",
    )
    cleared = [t.start, t.stop, t.progress, t.losses, t.previews, t.done]
    opened = begin.success(lambda: _opened(t), outputs=cleared, **hidden)
    run = opened.success(
        partial(run_training, t=t, session=session),
        [plan, session.folder],
        [t.progress, t.losses, t.previews, t.done, t.result, t.download, session.adapter],
        concurrency_id="gpu",
        concurrency_limit=1,
        show_progress="hidden",
        api_visibility="private",
    )
    run.then(lambda: (gr.Button(interactive=True), gr.Button(interactive=False)), outputs=[t.start, t.stop], **hidden)
    t.stop.click(request_stop, plan, t.stop, **hidden)
    t.onwards.click(lambda: gr.Tabs(selected="portraits"), outputs=tabs, **hidden)


def show_ready(
    person: CheckedSet | None, style: CheckedSet | None, base: str, preset: str, seed: int, steps: int, off: list[str]
) -> str:
    """Say what is missing, or how long it will take."""
    return _ready(person, style, base, _config(preset, seed, steps, off))


def _ready(person: CheckedSet | None, style: CheckedSet | None, base: str, config: TrainConfig) -> str:
    if missing := what_is_missing(person, style):
        return note(missing, "warn")
    counts = f"{len(person.references)} photos of the person, {len(style.references)} of the style"
    return note(f"Ready: {counts}. {config.steps} steps, about {duration(training_seconds(base, config))}.", "good")


def what_is_missing(person: CheckedSet | None, style: CheckedSet | None) -> str:
    """Say why training cannot start, or give an empty text."""
    for checked, whose in ((person, "of the person"), (style, "of the style")):
        if checked is None:
            return f"There are no photos {whose} yet: add them in the tab References."
        if checked.problem:
            return f"The photos {whose} cannot be used. {checked.problem} See the tab References."
    return ""


def _config(preset: str, seed: int | None, steps: int | None, off: list[str]) -> TrainConfig:
    config = replace(PRESETS[preset], seed=int(seed or 0), off=frozenset(off))
    return config.with_steps(int(steps)) if steps else config


def make_plan(
    person: CheckedSet | None,
    style: CheckedSet | None,
    base: str,
    preset: str,
    seed: int,
    steps: int,
    off: list[str],
    folder: Path | None,
) -> tuple[Plan, Path]:
    """Check everything before any compute is spent. Raises ``gr.Error`` in words a visitor understands."""
    if missing := what_is_missing(person, style):
        raise gr.Error(missing, title="Not yet", print_exception=False)
    try:
        load_base(base)
    except BaseUnavailableError as error:
        raise gr.Error(str(error), title="No such base here", print_exception=False) from error
    folder = folder or new_folder()
    config = _config(preset, seed, steps, off)
    return Plan(base, person.references, style.references, config, folder / f"stop-{uuid4().hex}"), folder


def _opened(t: Trainer) -> dict:
    """Clear what an earlier training left, and let this one be stopped."""
    return {
        t.start: gr.Button(interactive=False),
        t.stop: gr.Button(interactive=True),
        t.progress: progress_bar(None, "Waiting for its turn, then preparing the photos …"),
        t.losses: loss_plot({}, 1),
        t.previews: [],
        t.done: gr.Column(visible=False),
    }


def request_stop(plan: Plan | None) -> gr.Button:
    """Let the training in progress end after its present step."""
    if plan is not None:
        plan.stop.touch()
    return gr.Button(interactive=False)


def run_training(plan: Plan, folder: Path, t: Trainer, session: Session) -> Iterator[dict]:
    """Train, showing what happens about twice a second; at the end hand over the adapter."""
    live = Live()
    try:
        for event in train_adapter(plan.base, plan.person, plan.style, plan.config, plan.stop):
            if update := live.take(event):
                yield {getattr(t, name): value for name, value in update.items()}
        adapter = live.adapter
        archive = adapter.zip(folder / "magicapture-adapter.zip")
    except (AdapterError, BaseUnavailableError, ValueError) as error:
        raise gr.Error(str(error), title="Training failed", print_exception=False) from error
    except Exception as error:
        logger.exception("Training failed.")
        said = f"{type(error).__name__}: {error}. Your photos are still here; try again, or choose the preset Quick."
        raise gr.Error(said, title="Training failed", print_exception=False) from error
    finally:
        plan.stop.unlink(missing_ok=True)
    yield {
        t.progress: live.finished(),
        t.losses: loss_plot(live.curves, live.last.steps),
        t.previews: live.previews,
        t.done: gr.Column(visible=True),
        t.result: note(live.summary(), "good"),
        t.download: gr.DownloadButton(value=str(archive)),
        session.adapter: adapter,
    }
