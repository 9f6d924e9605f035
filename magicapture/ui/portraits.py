"""The tab Portraits: what to draw with an adapter; ``drawing_view`` tells of it, ``gallery`` shows what came of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from functools import partial

import gradio as gr

from magicapture.adapters.adapter import AdapterError
from magicapture.config import LEAST_STRENGTH, GenerateConfig
from magicapture.messages import Message, joined
from magicapture.server.forecast import usual_candidates
from magicapture.server.gate.queue import BOUNDED
from magicapture.server.workspace import Workspace
from magicapture.subject import PERSON_NOUN
from magicapture.ui import gallery
from magicapture.ui.drawing_view import DrawingView, start_drawing, stop_drawing
from magicapture.ui.events import AT_ONCE, QUEUED
from magicapture.ui.html import note, preset_name
from magicapture.ui.language import say, user_error
from magicapture.ui.session import AppContext, Session, require_visitor
from magicapture.ui.subject import shows

NOTHING_TO_DRAW_WITH = "There is no adapter yet: add photos in the tab References, then train one in the tab Train."
CHIPS = ("with glasses", "with a beard", "with a mustache", "with a hat", "light background", "dark background")
"""Words that every base knows, the embedded one included."""
CHIPS_OF_THINGS = ("on a table", "in a garden", "close-up", "from above", "light background", "dark background")
"""Words for things: bases that know things know more of them."""
DIAL = "More like the style ↔ more like me", "0 follows the style, 1 follows the person."
DIAL_OF_THINGS = "More like the style ↔ more like the thing", "0 follows the style, 1 follows the thing."
"""Label of the dial, and what its ends mean."""
MAX_COUNT, MAX_BEST_OF, MAX_SEED, MAX_WORDS = 12, 8, 2**31, 200
MAX_SAMPLING = 50
DRAWINGS_AT_ONCE = 60
"""More than may wait or run: what is too much is refused with a reason, not kept waiting."""
TO_PORTRAITS = "() => document.querySelector('#portraits-said').scrollIntoView({block: 'start', behavior: 'smooth'})"


@dataclass(frozen=True, eq=False)
class Studio:
    """The controls of the tab."""

    dial: gr.Slider
    strength: gr.Slider
    count: gr.Slider
    chips: gr.CheckboxGroup
    words: gr.Textbox
    upscale: gr.Radio
    label: gr.Checkbox
    seed: gr.Number
    best_of: gr.Slider
    steps: gr.Slider
    negative: gr.Textbox

    def config(self, values: dict) -> GenerateConfig:
        """Read the settings out of the ``values`` of the controls."""
        known = dict.fromkeys((*CHIPS, *CHIPS_OF_THINGS))
        extras = [*(chip for chip in known if chip in values[self.chips]), _words(values[self.words])]
        return GenerateConfig(
            count=_within(values[self.count], 1, MAX_COUNT),
            best_of=_within(values[self.best_of], 1, MAX_BEST_OF),
            prompt=", ".join(word for word in extras if word),
            negative_prompt=_words(values[self.negative]),
            seed=_within(values[self.seed], 0, MAX_SEED),
            dial=float(values[self.dial]),
            strength=min(max(float(values[self.strength] or 1), LEAST_STRENGTH), 1.0),
            steps=_within(values[self.steps], 0, MAX_SAMPLING) or None,
            upscale=int(values[self.upscale]),
        )


def _within(number: float | None, least: int, most: int) -> int:
    """Bring what a browser sent for a number, or for an empty field, within the bounds of the control."""
    return min(max(int(number or 0), least), most)


def next_seed(config: GenerateConfig) -> int:
    """Give the seed that follows all of ``config``, so that who draws again sees others; after the last come the first.

    >>> next_seed(GenerateConfig(count=4, best_of=2, seed=3))
    11
    """
    return (config.seed + len(config.seeds)) % (MAX_SEED + 1)


def _words(text: str | None) -> str:
    return (text or "").strip()[:MAX_WORDS]


def build(context: AppContext, session: Session, tab: gr.Tab, entered: gr.events.Dependency) -> gallery.Gallery:
    """Lay the ``tab`` out and wire it; gives the gallery in it."""
    status = gr.HTML(note(NOTHING_TO_DRAW_WITH, "warn"), elem_id="adapter-status", min_height=60)
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300, scale=2, elem_classes="magi-desk"):
            studio = _build_controls(usual_candidates(context.base.spec.name))
            draw = gr.Button("Draw portraits", variant="primary", interactive=False, elem_id="draw")
            stop = gr.Button("Stop drawing", size="sm", interactive=False, elem_id="stop-drawing")
        with gr.Column(min_width=300, scale=3):
            pictures = gallery.build(context)
            view = DrawingView(pictures, stop, gr.Textbox(label="Portraits", visible="hidden"))
    controls = {getattr(studio, field.name) for field in fields(studio)}
    checked = draw.click(require_adapter, session.adapter, **QUEUED)

    async def draw_with(values: dict, request: gr.Request) -> AsyncIterator[dict]:
        config, label, visitor = studio.config(values), values[studio.label], values[session.visitor]
        drawing = start_drawing(context, visitor, values[session.adapter], config, label, request)
        yield {studio.seed: next_seed(config)}
        async for update in view.tell(drawing):
            yield update

    drawn = checked.success(
        draw_with,
        inputs={session.visitor, session.adapter, *controls},
        outputs=[*view.parts, studio.seed],
        concurrency_id=f"{BOUNDED}draw",
        concurrency_limit=DRAWINGS_AT_ONCE,
        show_progress_on=pictures.said,
        api_visibility="private",
    )
    view.arrived.change(None, js=TO_PORTRAITS, api_visibility="private")
    stop.click(partial(stop_drawing, context), session.visitor, **AT_ONCE)
    followed = entered.then(partial(view.follow, context.drawings), session.visitor, view.parts, **QUEUED)
    gallery.connect(pictures, context, session, [entered, tab.select, drawn, followed])
    described = [status, draw, studio.chips, studio.dial, studio.strength]
    session.adapter.change(describe, [session.visitor, session.adapter, studio.chips], described, **AT_ONCE)
    return pictures


def _build_controls(candidates: int) -> Studio:
    """Lay the controls out; ``candidates`` are drawn for each portrait unless the visitor chooses otherwise."""
    default = GenerateConfig()
    dial = gr.Slider(0, 1, default.dial, step=0.05, label=DIAL[0], info=DIAL[1], buttons=[], elem_id="dial")
    strength = gr.Slider(
        LEAST_STRENGTH, 1, default.strength, step=0.05, label="Like my photo ↔ a new picture", buttons=[],
        info="Below 1, each starts from one of your photos: pose, hair and glasses stay.", elem_id="strength",
        visible=False,
    )  # fmt: skip
    count = gr.Slider(1, MAX_COUNT, default.count, step=1, label="How many", buttons=[], elem_id="count")
    chips = gr.CheckboxGroup([(chip, chip) for chip in CHIPS], label="Add", elem_id="chips")
    words = gr.Textbox(label="Add in your own words", placeholder="such as: smiling, in a garden", max_length=MAX_WORDS)
    sizes = [("as drawn", 1), ("2×", 2), ("4×", 4)]
    upscale = gr.Radio(sizes, value=default.upscale, label="Size", elem_id="upscale")
    label = gr.Checkbox(
        True, label="Mark as AI-generated", elem_id="label",
        info="A small label in the corner. The file says so in any case (IPTC, trainedAlgorithmicMedia).",
    )  # fmt: skip
    with gr.Accordion("Advanced", open=False):
        seed = gr.Number(0, label="Seed", info="Of the first one; the next count up.", precision=0, minimum=0)
        longer = "More take longer; the best are shown."
        best_of = gr.Slider(1, MAX_BEST_OF, candidates, step=1, label="Candidates for each", buttons=[], info=longer)
        steps = gr.Slider(
            0, MAX_SAMPLING, 0, step=1, label="Sampler steps", buttons=[], info="0: as many as suit the base model."
        )
        negative = gr.Textbox(label="What to avoid", max_length=MAX_WORDS)
    return Studio(dial, strength, count, chips, words, upscale, label, seed, best_of, steps, negative)


def describe(
    visitor: Workspace | None, adapter_id: str, ticked: list[str]
) -> tuple[str, gr.Button, gr.CheckboxGroup, gr.Slider, gr.Slider]:
    """Say which adapter is in use; gives with it the button, words, some ``ticked``, and sliders for what it has."""
    try:
        adapter = require_visitor(visitor).shelf.load(adapter_id)
    except (AdapterError, gr.Error):
        return note(NOTHING_TO_DRAW_WITH, "warn"), gr.Button(interactive=False), gr.skip(), gr.skip(), gr.skip()
    info = adapter.info
    used = "In use: {title} ({preset}, {n} steps, base {base})."
    facts = {"preset": preset_name(info.preset), "n": info.steps, "base": info.base}
    said = note(joined(" ", Message(used, title=info.title or adapter_id, **facts), shows(info.subject)), "good")
    is_person = info.subject == PERSON_NOUN
    chips, (label, ends) = (CHIPS, DIAL) if is_person else (CHIPS_OF_THINGS, DIAL_OF_THINGS)
    choices = gr.CheckboxGroup([(say(chip), chip) for chip in chips], value=[chip for chip in ticked if chip in chips])
    strength = gr.Slider(value=1, visible=adapter.photos is not None)
    return said, gr.Button(interactive=True), choices, gr.Slider(label=say(label), info=say(ends)), strength


def require_adapter(adapter_id: str) -> None:
    """Refuse before the queue what cannot be drawn. Raises ``gr.Error``."""
    if not adapter_id:
        raise user_error(NOTHING_TO_DRAW_WITH, "Not yet")
