"""The tab Portraits: an adapter in, a scored gallery out, and a choice for each picture: keep it or reject it."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import gradio as gr

from magicapture.adapter import AdapterError
from magicapture.config import GenerateConfig
from magicapture.gpu import LINE, drawing_seconds, generate_portraits, refusal
from magicapture.turns import Turn
from magicapture.ui.language import complaint, say
from magicapture.ui.live import caption
from magicapture.ui.session import House, Session, require_visitor
from magicapture.ui.words import duration, hours, note, section
from magicapture.workspace import Workspace, WorkspaceError

NO_ADAPTER = "There is no adapter yet: add photos in the tab References, then train one in the tab Train."
CHIPS = ("with glasses", "with a beard", "with a mustache", "with a hat", "light background", "dark background")
"""Words that every base knows, the embedded one included."""
GALLERY_HINT = "Portraits appear here, the best first, each with its likeness and style score."
CHOOSE_HINT = "Choose a portrait above to keep or reject it."
REASONS = {
    "Does not look like the person": "not_like_me",
    "Is not in the style": "not_the_style",
    "Has visible faults": "artefacts",
    "Another reason": "other",
}
MAX_COUNT, MAX_SEED, MAX_WORDS = 12, 2**31, 200
ASK_SECONDS = 1.0
"""How often a waiting visitor is told where they stand."""


@dataclass(frozen=True, eq=False)
class Studio:
    """The controls of the tab."""

    dial: gr.Slider
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
        extras = [*values[self.chips], (values[self.words] or "").strip()]
        return GenerateConfig(
            count=int(values[self.count]),
            best_of=int(values[self.best_of]),
            prompt=", ".join(word for word in extras if word),
            negative_prompt=(values[self.negative] or "").strip(),
            seed=min(int(values[self.seed] or 0), MAX_SEED),
            dial=float(values[self.dial]),
            steps=int(values[self.steps]),
            upscale=int(values[self.upscale]),
        )


@dataclass(frozen=True, eq=False)
class Wall:
    """The gallery and what can be done with the portrait chosen in it; ``listed``: the paths that it shows."""

    gallery: gr.Gallery
    said: gr.HTML
    chosen: gr.HTML
    keep: gr.Button
    reject: gr.Button
    reason: gr.Dropdown
    download: gr.DownloadButton
    listed: gr.State
    selected: gr.State


def build(house: House, session: Session, entered: gr.events.Dependency) -> gr.State:
    """Lay the tab out and wire it; gives the state that changes whenever the visitor's portraits do."""
    status = gr.HTML(note(NO_ADAPTER, "warn"), elem_id="adapter-status", min_height=60)
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300, scale=2):
            studio = _build_controls()
            draw = gr.Button("Draw portraits", variant="primary", elem_id="draw")
        with gr.Column(min_width=300, scale=3):
            wall = _build_wall(house)
    controls = {getattr(studio, field.name) for field in fields(studio)}
    hidden = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    queued = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
    checked = draw.click(require_adapter, session.adapter, **queued)

    def draw_with(values: dict) -> Iterator[str]:
        config, label = studio.config(values), values[studio.label]
        yield from draw_portraits(house, values[session.visitor], values[session.adapter], config, label)

    drawn = checked.success(
        draw_with,
        inputs={session.visitor, session.adapter, *controls},
        outputs=wall.said,
        concurrency_limit=None,
        show_progress_on=wall.gallery,
        api_visibility="private",
    )
    showing = {
        "fn": partial(show, house),
        "inputs": session.visitor,
        "outputs": [wall.gallery, wall.listed, wall.selected, wall.chosen, wall.keep, wall.reject, wall.download],
        **hidden,
    }
    drawn.success(**showing)
    entered.then(**showing)
    wall.gallery.select(choose, wall.listed, [wall.selected, wall.chosen, wall.keep, wall.reject], **hidden)
    kept = wall.keep.click(partial(keep, house), [session.visitor, wall.selected], **queued)
    kept.success(**showing)
    rejected = wall.reject.click(partial(reject, house), [session.visitor, wall.selected, wall.reason], **queued)
    rejected.success(**showing)
    session.adapter.change(describe, [session.visitor, session.adapter], status, **hidden)
    return wall.listed


def _build_controls() -> Studio:
    default = GenerateConfig()
    dial = gr.Slider(
        0, 1, default.dial, step=0.05, label="More like the style ↔ more like me", buttons=[], elem_id="dial",
        info="0 follows the style, 1 follows the person.",
    )  # fmt: skip
    count = gr.Slider(1, MAX_COUNT, default.count, step=1, label="How many", buttons=[], elem_id="count")
    chips = gr.CheckboxGroup([(chip, chip) for chip in CHIPS], label="Add", elem_id="chips")
    words = gr.Textbox(label="Add in your own words", placeholder="such as: smiling, in a garden", max_length=MAX_WORDS)
    upscale = gr.Radio([("as drawn", 1), ("2×", 2), ("4×", 4)], value=1, label="Size", elem_id="upscale")
    label = gr.Checkbox(
        True, label="Mark as AI-generated", elem_id="label",
        info="A small label in the corner. The file says so in any case (IPTC, trainedAlgorithmicMedia).",
    )  # fmt: skip
    with gr.Accordion("Advanced", open=False):
        seed = gr.Number(0, label="Seed", info="Of the first one; the next count up.", precision=0, minimum=0)
        best_of = gr.Slider(
            1, 8, 1, step=1, label="Candidates for each", buttons=[], info="More take longer; the best are shown."
        )
        steps = gr.Slider(5, 50, default.steps, step=1, label="Sampler steps", buttons=[])
        negative = gr.Textbox(label="What to avoid", max_length=MAX_WORDS)
    return Studio(dial, count, chips, words, upscale, label, seed, best_of, steps, negative)


def _build_wall(house: House) -> Wall:
    gallery = gr.Gallery(
        label="Portraits",
        show_label=False,
        columns=2,
        height=600,
        object_fit="contain",
        fit_columns=False,
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id="portraits",
    )
    said = gr.HTML(section("", GALLERY_HINT), elem_id="portraits-said", min_height=32)
    chosen = gr.HTML(section("", _choose_hint(house)), elem_id="chosen", min_height=32)
    with gr.Row():
        keep_button = gr.Button("Keep", variant="primary", interactive=False, elem_id="keep")
        reject_button = gr.Button("Reject and delete", interactive=False, elem_id="reject")
    reason = gr.Dropdown(list(REASONS.items()), value="not_like_me", label="Reason for rejecting", elem_id="reason")
    download = gr.DownloadButton("Download the kept ones (zip)", interactive=False, elem_id="download-portraits")
    return Wall(gallery, said, chosen, keep_button, reject_button, reason, download, gr.State([]), gr.State())


def _choose_hint(house: House) -> str:
    least = house.settings.min_likeness
    rule = f" Here only portraits with a likeness of at least {least:.2f} can be kept." if least is not None else ""
    return f"{CHOOSE_HINT}{rule} What is neither is deleted after {hours(house.settings.result_hours)}."


def describe(visitor: Workspace | None, adapter_id: str) -> str:
    """Say which adapter is in use."""
    try:
        info = visitor.load_adapter(adapter_id).info
    except (AdapterError, AttributeError):
        return note(NO_ADAPTER, "warn")
    return note(f"In use: {info['title']} ({info['preset']}, {info['steps']} steps, base {info['base']}).", "good")


def require_adapter(adapter_id: str) -> None:
    """Refuse before the queue what cannot be drawn. Raises ``gr.Error``."""
    if not adapter_id:
        raise complaint(NO_ADAPTER, "Not yet")


def draw_portraits(
    house: House, visitor: Workspace | None, adapter_id: str, config: GenerateConfig, label: bool
) -> Generator[str, None, list[Path]]:
    """Draw portraits into the visitor's folder; says where they stand while they wait, and returns the files.

    Raises ``gr.Error``.
    """
    visitor = require_visitor(visitor)
    try:
        adapter = visitor.load_adapter(adapter_id)
        with LINE.join(drawing_seconds(adapter.info["base"], config)) as turn:
            while not turn.wait(ASK_SECONDS):
                yield section("", _waiting(turn))
            yield section("", "Drawing …")
            portraits = generate_portraits(adapter, config)
    except gr.Error as error:
        raise complaint(refusal(error), "No portraits") from error
    except AdapterError as error:
        raise complaint(str(error), "No portraits") from error
    paths = [visitor.add_portrait(portrait, label) for portrait in portraits]
    house.records.log("portraits_drawn", len(portraits))
    upscaler = portraits[0].settings.get("upscaler")
    size = portraits[0].image.size
    how = f", enlarged by {upscaler}." if upscaler else "."
    said = f"{len(portraits)} portraits of {size[0]} × {size[1]} pixels{how} Seed and settings are kept in each PNG."
    yield section("", said)
    return paths


def _waiting(turn: Turn) -> str:
    people = "One is" if turn.ahead == 1 else f"{turn.ahead} are"
    return f"{people} before you; your turn comes in about {duration(turn.expected_wait)}."


def show(house: House, visitor: Workspace | None) -> tuple:
    """Give the gallery anew, with nothing chosen in it, and the zip of what is kept."""
    portraits = visitor.portraits() if visitor else []
    marks = {True: "kept ✓ · ", False: ""}
    pictures = [(str(p.path), say(f"{marks[p.kept]}{caption(p.facts)} · seed {p.facts['seed']}")) for p in portraits]
    kept = any(portrait.kept for portrait in portraits)
    archive = gr.DownloadButton(value=str(visitor.zip_kept()) if kept else None, interactive=kept)
    hint = section("", _choose_hint(house))
    off = gr.Button(interactive=False)
    return gr.Gallery(pictures, selected_index=None), [p.path for p in portraits], None, hint, off, off, archive


def choose(listed: list[Path], event: gr.SelectData) -> tuple:
    """Note which portrait was chosen, and offer what can be done with it."""
    path = listed[event.index]
    is_kept = path.parent.name == "kept"
    said = section("", f"Chosen: number {event.index + 1}{', kept' if is_kept else ''}.")
    return path, said, gr.Button(interactive=not is_kept), gr.Button(interactive=True)


def keep(house: House, visitor: Workspace | None, path: Path) -> None:
    """Keep a portrait. Raises ``gr.Error`` when its likeness is too small for this installation."""
    try:
        require_visitor(visitor).keep(path, house.settings.min_likeness)
    except WorkspaceError as error:
        raise complaint(str(error), "Not kept") from error
    house.records.log("portrait_kept")


def reject(house: House, visitor: Workspace | None, path: Path, reason: str) -> None:
    """Delete a portrait at once and note why."""
    try:
        require_visitor(visitor).reject(path)
    except WorkspaceError as error:
        raise complaint(str(error), "Not there") from error
    house.records.log("portrait_rejected", detail=reason)
