"""The tab Train: a preset, a start, and what happens while it runs, on this page or on another one."""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from math import inf
from types import MethodType
from typing import Any

import gradio as gr
from gradio.components import Component

from magicapture.bases import resolve_base
from magicapture.config import TERMS, Term, TrainConfig
from magicapture.photos.references import CheckedSet
from magicapture.server.gate.answer import address_of
from magicapture.server.gpu import ZERO_GPU, offered, require_base
from magicapture.server.jobs import TrainingPlan
from magicapture.server.workspace import Workspace
from magicapture.subject import PERSON_NOUN
from magicapture.ui.events import AT_ONCE, QUEUED, user_errors
from magicapture.ui.html import preset_name, section
from magicapture.ui.judging import side_for
from magicapture.ui.language import say, user_error
from magicapture.ui.live import filmstrip, loss_plot, progress_bar
from magicapture.ui.readiness import (
    DELETED_MEANWHILE,
    LOOKED_AT_ANEW,
    are_cut_for,
    are_there,
    called,
    readiness,
    what_is_missing,
)
from magicapture.ui.session import AppContext, Session, adapter_in_use, require_visitor
from magicapture.ui.steps import NO_ADAPTER, Step, build_step
from magicapture.ui.training_view import TICK_SECONDS, TrainingView, may_start

PURPOSES = {
    "quick": "Quick: a first result in minutes. Start here.",
    "balanced": "Balanced: takes longer, with a steadier likeness.",
    "paper": "Paper: the schedule as published, for comparisons. Long.",
}
KEEP = (
    "Keep small copies of the photos with the adapter",
    "Portraits can then start from them. They are deleted with the adapter and never go to the Hub.",
)
TERM_NAMES = {
    "identity": "Identity loss",
    "attention": "Attention refocusing",
    "composed": "Composed prompts",
    "tokens": "Phase 1 (tokens alone)",
}
MAX_STEPS, MAX_SEED = 10_000, 2**31


@dataclass(frozen=True, eq=False)
class Trainer:
    """The parts of the tab that events speak to."""

    preset: gr.Radio
    base: gr.Dropdown
    seed: gr.Number
    steps: gr.Number
    off: gr.CheckboxGroup
    keep: gr.Checkbox
    ready: gr.HTML
    view: TrainingView
    onwards: Step

    @property
    def settings(self) -> set[Component]:
        """The parts that say how to train."""
        return {self.preset, self.base, self.seed, self.steps, self.off, self.keep}

    def choice(self, values: dict[Component, Any]) -> "Choice":
        """Read the settings out of the ``values`` of the parts."""
        off = frozenset(term for term in TERMS if term in values[self.off])
        seed, steps = int(values[self.seed] or 0), int(values[self.steps] or 0)
        return Choice(values[self.base], values[self.preset], seed, steps, off, values[self.keep] is True)


@dataclass(frozen=True)
class Choice:
    """How a visitor wants to train: ``steps`` is 0 for as many as the preset has, ``off`` for an ablation."""

    base: str
    preset: str
    seed: int = 0
    steps: int = 0
    off: frozenset[Term] = frozenset()
    keep_photos: bool = False

    @property
    def config(self) -> TrainConfig:
        """The settings of the training; numbers out of range are brought into it."""
        seed, steps = min(max(self.seed, 0), MAX_SEED), min(max(self.steps, 0), MAX_STEPS)
        preset = resolve_base(self.base).presets[self.preset]
        config = replace(preset, seed=seed, off=self.off, keep_photos=self.keep_photos)
        return config.with_steps(steps) if steps else config


def build(base: str, session: Session) -> Trainer:
    """Lay the tab out; ``base`` is the name of the base that is chosen at first. ``connect`` has to follow."""
    gr.HTML(
        section("How long may it take?", "A longer training makes the likeness steadier. You can stop at any time.")
    )
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            choices = [(sentence, name) for name, sentence in PURPOSES.items()]
            preset = gr.Radio(choices, value="quick", label="Preset", elem_id="preset")
            keep = gr.Checkbox(False, label=KEEP[0], info=KEEP[1], elem_id="keep-photos")
            advanced = _build_advanced(base)
            quick = resolve_base(base).presets["quick"]
            ready = gr.HTML(readiness(None, None, base, quick), elem_id="ready", min_height=60)
            with gr.Row():
                start = gr.Button("Start training", variant="primary", interactive=False, elem_id="start-training")
                stop = gr.Button("Stop and keep", interactive=False, elem_id="stop-training")
                resume = gr.Button("Go on", visible=False, variant="primary", elem_id="resume-training")
        with gr.Column(min_width=300):
            progress = gr.HTML(progress_bar(None), elem_id="progress")
            losses = gr.HTML(loss_plot(None), elem_id="losses")
    gr.HTML(section("Previews", "The same picture again and again while it trains; the best state is kept."))
    film = gr.HTML(filmstrip(None), elem_id="previews", apply_default_css=False)
    with gr.Column(visible=False) as done:
        result = gr.HTML(elem_id="training-result")
        download = gr.DownloadButton("Download the adapter (zip)", elem_id="download-adapter")
    onwards = build_step("Make portraits", NO_ADAPTER, "to-portraits")
    return Trainer(
        preset=preset,
        keep=keep,
        **advanced,
        ready=ready,
        onwards=onwards,
        view=TrainingView(
            start=start,
            stop=stop,
            resume=resume,
            progress=progress,
            losses=losses,
            film=film,
            done=done,
            result=result,
            download=download,
            timer=gr.Timer(TICK_SECONDS, active=False),
            seen=gr.State(),
            adapter=session.adapter,
        ),
    )


def _build_advanced(base: str) -> dict[str, Component]:
    """Lay the settings out that most leave alone; gives them by their names in ``Trainer``."""
    bases = {**offered(), base: resolve_base(base)}
    same, whole = "The same seed gives the same adapter.", "0: as many as the preset has."
    terms = [(TERM_NAMES[term], term) for term in TERMS]
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        return {
            "base": gr.Dropdown([(spec.choice, name) for name, spec in bases.items()], value=base, label="Base model"),
            "seed": gr.Number(0, label="Seed", info=same, precision=0, minimum=0),
            "steps": gr.Number(
                0, label="Steps", info=whole, precision=0, minimum=0, maximum=MAX_STEPS, elem_id="steps"
            ),
            "off": gr.CheckboxGroup(terms, label="Switch off", info="To see what each part does."),
        }


def connect(trainer: Trainer, context: AppContext, session: Session, entered: gr.events.Dependency) -> None:
    """Wire the events. The training is a job that does not need the page: a timer asks how it stands."""
    t = trainer
    photos = {session.person, session.style}
    asks = TrainTab(trainer, context, session)
    changes = [part.change for part in (session.person, session.style, session.noun, t.base, t.preset, t.steps, t.off)]
    view = trainer.view
    gr.on(changes, asks.ready, {session.job, session.noun, *photos, *t.settings}, [t.ready, view.start], **AT_ONCE)
    showing = {
        "fn": partial(view.show, context.jobs),
        "inputs": [session.job, view.seen, session.person, session.style, session.noun],
        "outputs": view.parts,
        **QUEUED,
    }
    begun = view.start.click(asks.start, {session.visitor, *photos, *t.settings}, session.job, **QUEUED)
    resumed = view.resume.click(MethodType(resume, context), session.job, **QUEUED)
    for changed in (begun, resumed):
        changed.success(**showing)
    shown = entered.then(partial(latest_job, context), session.visitor, session.job, **AT_ONCE).then(**showing)
    shown.then(adapter_in_use, [session.visitor, session.adapter], session.adapter, **QUEUED)
    view.stop.click(partial(stop, context), session.job, view.stop, **AT_ONCE)
    view.timer.tick(**showing)


@dataclass(frozen=True, eq=False)
class TrainTab:
    """The events that read the settings: their values come by the parts that hold them."""

    trainer: Trainer
    context: AppContext
    session: Session

    def ready(self, values: dict, profile: gr.OAuthProfile | None = None) -> tuple[str, gr.Button]:
        """Say what is missing, or how long it will take; gives with it the button that starts it."""
        session, choice = self.session, self.trainer.choice(values)
        sets, noun = (values[session.person], values[session.style]), values[session.noun]
        job = self.context.jobs.get(values[session.job]) if values[session.job] else None
        said = readiness(*sets, choice.base, choice.config, profile, noun)
        return said, may_start(job, what_is_missing(*sets, noun))

    def start(self, values: dict, request: gr.Request, profile: gr.OAuthProfile | None = None) -> str:
        """Start a job; gives its id. Raises ``gr.Error``."""
        sets = values[self.session.person], values[self.session.style]
        return start(self.context, values[self.session.visitor], *sets, self.trainer.choice(values), request, profile)


def start(
    context: AppContext,
    visitor: Workspace | None,
    person: CheckedSet | None,
    style: CheckedSet | None,
    choice: Choice,
    request: gr.Request,
    profile: gr.OAuthProfile | None = None,
) -> str:
    """Check everything before any compute is spent and start a job; gives its id.

    Raises ``gr.Error`` in words a visitor understands.
    """
    visitor = require_visitor(visitor)
    if missing := what_is_missing(person, style, visitor.subject.noun):
        raise user_error(missing, "Not yet")
    assert person is not None
    assert style is not None
    if not are_there(visitor, person, style):
        raise user_error(DELETED_MEANWHILE, "Not yet")
    settings = context.settings
    limit = (settings.slice_seconds if profile is None else settings.slice_seconds_signed_in) if ZERO_GPU else inf
    named = [] if person.subject == PERSON_NOUN else [say(called(person.subject))]
    words = ", ".join([*named, say(preset_name(choice.preset))])
    title = f"{words[0].upper()}{words[1:]}, {datetime.now().astimezone():%Y-%m-%d %H:%M}"
    plan = TrainingPlan(choice.base, person.references, style.references, choice.config, title, limit, person.subject)
    with user_errors("Not yet"):
        resolve_base(choice.base).require(person.subject)
        if not are_cut_for(side_for(choice.base), person, style):
            raise user_error(LOOKED_AT_ANEW, "Not yet")
        require_base(choice.base)
        return context.jobs.start(visitor, plan, address_of(request.request.scope)).id


def require_room(context: AppContext, visitor: Workspace, request: gr.Request) -> None:
    """Refuse, before photos are looked at, a training that ``start`` would not take on. Raises ``gr.Error``."""
    with user_errors("Not yet"):
        context.jobs.check_room(visitor, address_of(request.request.scope))


def latest_job(context: AppContext, visitor: Workspace) -> str:
    """Find the visitor's last training, on whatever page it was started; gives its id or an empty text."""
    job = context.jobs.latest(visitor.name)
    return job.id if job else ""


def stop(context: AppContext, job_id: str) -> gr.Button:
    """Let the training end after its present step."""
    if job := context.jobs.get(job_id):
        context.jobs.stop(job)
    return gr.Button(interactive=False)


def resume(context: AppContext, job_id: str, request: gr.Request) -> None:
    """Go on with a training that was broken off. Raises ``gr.Error``."""
    with user_errors("Not possible"):
        context.jobs.resume(context.jobs.get(job_id), address_of(request.request.scope))
