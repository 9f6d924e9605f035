"""The tab Train: a preset, a start, and what happens while it runs, on this page or on another one."""

from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from types import MethodType

import gradio as gr

from magicapture.adapters.adapter import AdapterError
from magicapture.bases import BaseError, load_base, offered_bases, resolve_base
from magicapture.config import TERMS, TrainConfig
from magicapture.photos.references import CheckedSet
from magicapture.server.gate.answer import address_of
from magicapture.server.gpu import ZERO_GPU
from magicapture.server.jobs import Job, JobError, TrainingPlan
from magicapture.server.queue import BusyError
from magicapture.server.workspace import Workspace, WorkspaceError
from magicapture.ui.html import note, preset_name, section
from magicapture.ui.language import say, user_error
from magicapture.ui.live import loss_plot, previews, progress_bar, summary
from magicapture.ui.readiness import readiness, what_is_missing
from magicapture.ui.session import AppContext, Session, require_visitor

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
MAX_STEPS, MAX_SEED = 10_000, 2**31
TICK_SECONDS = 1.0


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
    resume: gr.Button
    progress: gr.HTML
    losses: gr.HTML
    previews: gr.Gallery
    done: gr.Column
    result: gr.HTML
    download: gr.DownloadButton
    onwards: gr.Button


def build(base: str) -> Trainer:
    """Lay the tab out; ``base`` is the name of the base that is chosen at first. ``connect`` has to follow."""
    gr.HTML(section("How long may it take?", "More steps make the likeness steadier. You can stop at any time."))
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            choices = [(sentence, name) for name, sentence in PURPOSES.items()]
            preset = gr.Radio(choices, value="quick", label="Preset", elem_id="preset")
            advanced = _build_advanced(base)
            quick = resolve_base(base).presets["quick"]
            ready = gr.HTML(readiness(None, None, base, quick), elem_id="ready", min_height=60)
            with gr.Row():
                start = gr.Button("Start training", variant="primary", elem_id="start-training")
                stop = gr.Button("Stop and keep", interactive=False, elem_id="stop-training")
                resume = gr.Button("Go on", visible=False, variant="primary", elem_id="resume-training")
        with gr.Column(min_width=300):
            progress = gr.HTML(progress_bar(None), elem_id="progress")
            losses = gr.HTML(loss_plot(None), elem_id="losses")
    gr.HTML(section("Previews", "Quick portraits while it trains; the best state is the one that is kept."))
    gallery = gr.Gallery(
        label="Previews",
        show_label=False,
        columns=4,
        height="auto",
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
        preset, *advanced, ready, start, stop, resume, progress, losses, gallery, done, result, download, onwards
    )  # fmt: skip


def _build_advanced(base: str) -> tuple[gr.Dropdown, gr.Number, gr.Number, gr.CheckboxGroup]:
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        bases = {**offered_bases(), base: resolve_base(base)}
        return (
            gr.Dropdown([(spec.choice, name) for name, spec in bases.items()], value=base, label="Base model"),
            gr.Number(0, label="Seed", info="The same seed gives the same adapter.", precision=0, minimum=0),
            gr.Number(
                0, label="Steps", info="0: as many as the preset has.", precision=0, minimum=0, maximum=MAX_STEPS,
                elem_id="steps",
            ),
            gr.CheckboxGroup(
                [(TERM_NAMES[term], term) for term in TERMS], label="Switch off", info="To see what each part does."
            ),
        )  # fmt: skip


def connect(
    trainer: Trainer, context: AppContext, session: Session, tabs: gr.Tabs, entered: gr.events.Dependency
) -> gr.events.Dependency:
    """Wire the events; gives the one after which an adapter may be there that was not before.

    The training is a job that does not need the page: a timer asks how it stands, after a reload too.
    """
    t = trainer
    settings = [session.person, session.style, t.base, t.preset, t.seed, t.steps, t.off]
    hidden = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
    changes = [part.change for part in (session.person, session.style, t.base, t.preset, t.steps, t.off)]
    gr.on(changes, show_ready, settings, t.ready, **hidden)
    timer, shown = gr.Timer(TICK_SECONDS, active=False), gr.State()
    parts = [t.start, t.stop, t.resume, t.progress, t.losses, t.previews, t.done, t.result, t.download]
    # Not queue=False: Gradio shows errors, and notices changed states, only after events that are queued.
    queued = {"concurrency_limit": None, "api_visibility": "private", "show_progress": "hidden"}
    showing = {
        "fn": partial(show, context),
        "inputs": [session.job, shown],
        "outputs": [*parts, session.adapter, timer, shown],
        **queued,
    }
    # MethodType, not partial: Gradio looks for the profile in the annotations.
    begun = t.start.click(MethodType(start, context), [session.visitor, *settings], session.job, **queued)
    begun.success(**showing)
    resumed = t.resume.click(partial(resume, context), session.job, **queued)
    resumed.success(**showing)
    entered.then(partial(latest_job, context), session.visitor, session.job, **hidden).then(**showing)
    t.stop.click(partial(stop, context), session.job, t.stop, **hidden)
    t.onwards.click(lambda: gr.Tabs(selected="portraits"), outputs=tabs, **hidden)
    return timer.tick(**showing)


def show_ready(
    person: CheckedSet | None,
    style: CheckedSet | None,
    base: str,
    preset: str,
    seed: int,
    steps: int,
    off: list[str],
    profile: gr.OAuthProfile | None = None,
) -> str:
    """Say what is missing, or how long it will take."""
    return readiness(person, style, base, _config(base, preset, seed, steps, off), profile)


def _config(base: str, preset: str, seed: int | None, steps: int | None, off: list[str]) -> TrainConfig:
    seed = min(max(int(seed or 0), 0), MAX_SEED)
    config = replace(resolve_base(base).presets[preset], seed=seed, off=frozenset(off))
    steps = min(max(int(steps or 0), 0), MAX_STEPS)
    return config.with_steps(steps) if steps else config


def start(
    context: AppContext,
    visitor: Workspace | None,
    person: CheckedSet | None,
    style: CheckedSet | None,
    base: str,
    preset: str,
    seed: int,
    steps: int,
    off: list[str],
    request: gr.Request,
    profile: gr.OAuthProfile | None = None,
) -> str:
    """Check everything before any compute is spent and start a job; gives its id.

    Raises ``gr.Error`` in words a visitor understands.
    """
    if missing := what_is_missing(person, style):
        raise user_error(missing, "Not yet")
    settings = context.settings
    limit = settings.slice_seconds if profile is None else settings.slice_seconds_signed_in
    title = f"{say(preset_name(preset)).capitalize()}, {datetime.now().astimezone():%Y-%m-%d %H:%M}"
    config = _config(base, preset, seed, steps, off)
    plan = TrainingPlan(base, person.references, style.references, config, title, limit if ZERO_GPU else float("inf"))
    try:
        load_base(base)
        return context.jobs.start(require_visitor(visitor), plan, address_of(request.request.scope)).id
    except (BaseError, BusyError, JobError, WorkspaceError) as error:
        raise user_error(str(error), "Not yet") from error


def latest_job(context: AppContext, visitor: Workspace) -> str:
    """Find the visitor's last training, on whatever page it was started; gives its id or an empty text."""
    job = context.jobs.latest(visitor.name)
    return job.id if job else ""


def stop(context: AppContext, job_id: str) -> gr.Button:
    """Let the training end after its present step."""
    if job := context.jobs.get(job_id):
        context.jobs.stop(job)
    return gr.Button(interactive=False)


def resume(context: AppContext, job_id: str) -> None:
    """Go on with a training that was broken off. Raises ``gr.Error``."""
    try:
        context.jobs.resume(context.jobs.get(job_id))
    except (BusyError, JobError) as error:
        raise user_error(str(error), "Not possible") from error


def show(context: AppContext, job_id: str, shown: tuple | None) -> tuple:
    """Give all parts of the tab for a job as it stands; ``shown`` is what it was when this last looked."""
    job = copy(context.jobs.get(job_id)) if job_id else None  # it may end while this looks
    pictures = job.previews() if job else []
    now = (job_id, job and job.state, job and job.event and job.event.step, len(pictures))
    if job is None or now == shown:
        waiting = job is not None and job.active
        bar = progress_bar(job) if waiting else gr.skip()
        return *[gr.skip()] * 3, bar, *[gr.skip()] * 6, gr.Timer(active=waiting), now
    changed = shown is None or shown[0] != job_id or shown[1] != job.state
    buttons = (
        gr.Button(interactive=not job.active),
        gr.Button(interactive=job.active),
        gr.Button(visible=job.resumable),
    )
    gallery = previews(job) if changed or shown[3] != len(pictures) else gr.skip()
    result = _result(job) if changed else (gr.skip(),) * 4
    steady = buttons if changed else (gr.skip(),) * 3
    return *steady, progress_bar(job), loss_plot(job), gallery, *result, gr.Timer(active=job.active), now


def _result(job: Job) -> tuple:
    """Give what came out: the part of the tab, its sentence, the zip, and the adapter to use from now on."""
    try:
        if job.adapter is None:
            return gr.Column(visible=False), "", gr.skip(), gr.skip()
        info = job.workspace.shelf.load(job.adapter).info
        archive = str(job.workspace.shelf.zip(job.adapter))
    except AdapterError:  # deleted meanwhile
        return gr.Column(visible=False), "", gr.skip(), gr.skip()
    return gr.Column(visible=True), note(summary(info), "good"), gr.DownloadButton(value=archive), job.adapter
