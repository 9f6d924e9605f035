"""The tab Portraits: an adapter in, a scored gallery out."""

import shutil
from dataclasses import dataclass, fields
from pathlib import Path

import gradio as gr

from magicapture.adapter import Adapter, AdapterError
from magicapture.bases import BaseUnavailableError
from magicapture.config import GenerateConfig
from magicapture.generation import Portrait
from magicapture.gpu import generate_portraits
from magicapture.ui.live import caption
from magicapture.ui.session import Session, new_folder
from magicapture.ui.words import note, section

NO_ADAPTER = "There is no adapter yet: add photos in the tab References, then train one in the tab Train."
CHIPS = ("with glasses", "with a beard", "with a mustache", "with a hat", "light background", "dark background")
"""Words that every base knows, the embedded one included."""
GALLERY_HINT = "Portraits appear here, the best first, each with its likeness and style score."

MAX_SEED = 2**31


@dataclass(frozen=True, eq=False)
class Studio:
    """The controls of the tab."""

    dial: gr.Slider
    count: gr.Slider
    chips: gr.CheckboxGroup
    words: gr.Textbox
    upscale: gr.Radio
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


def build(session: Session) -> None:
    """Lay the tab out and wire it."""
    status = gr.HTML(note(NO_ADAPTER, "warn"), elem_id="adapter-status", min_height=60)
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300, scale=2):
            studio = _build_controls()
            draw = gr.Button("Draw portraits", variant="primary", elem_id="draw")
        with gr.Column(min_width=300, scale=3):
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
            download = gr.DownloadButton("Download all (zip of PNG)", interactive=False, elem_id="download-portraits")
    outputs = [gallery, said, download, session.folder]
    controls = {getattr(studio, field.name) for field in fields(studio)}
    checked = draw.click(
        require_adapter, session.adapter, concurrency_limit=None, show_progress="hidden", api_visibility="private"
    )
    checked.success(
        lambda values: draw_portraits(values[session.adapter], values[session.folder], studio.config(values)),
        inputs={session.adapter, session.folder, *controls},
        outputs=outputs,
        concurrency_id="gpu",
        concurrency_limit=1,
        show_progress_on=gallery,
        api_visibility="private",
    )
    session.adapter.change(
        describe, session.adapter, status, queue=False, show_progress="hidden", api_visibility="private"
    )


def _build_controls() -> Studio:
    default = GenerateConfig()
    dial = gr.Slider(
        0, 1, default.dial, step=0.05, label="More like the style ↔ more like me", buttons=[], elem_id="dial",
        info="0 follows the style, 1 follows the person.",
    )  # fmt: skip
    count = gr.Slider(1, 12, default.count, step=1, label="How many", buttons=[], elem_id="count")
    chips = gr.CheckboxGroup([(chip, chip) for chip in CHIPS], label="Add", elem_id="chips")
    words = gr.Textbox(label="Add in your own words", placeholder="such as: smiling, in a garden", max_length=200)
    upscale = gr.Radio([("as drawn", 1), ("2×", 2), ("4×", 4)], value=1, label="Size", elem_id="upscale")
    with gr.Accordion("Advanced", open=False):
        seed = gr.Number(0, label="Seed", info="Of the first one; the next count up.", precision=0, minimum=0)
        best_of = gr.Slider(
            1, 8, 1, step=1, label="Candidates for each", buttons=[], info="More take longer; the best are shown."
        )
        steps = gr.Slider(5, 50, default.steps, step=1, label="Sampler steps", buttons=[])
        negative = gr.Textbox(label="What to avoid", max_length=200)
    return Studio(dial, count, chips, words, upscale, seed, best_of, steps, negative)


def describe(adapter: Adapter | None) -> str:
    """Say which adapter is in use."""
    if adapter is None:
        return note(NO_ADAPTER, "warn")
    info = adapter.info
    return note(f"Your adapter: preset {info['preset']}, {info['steps']} steps, base {info['base']}.", "good")


def require_adapter(adapter: Adapter | None) -> None:
    """Refuse before the queue what cannot be drawn. Raises ``gr.Error``."""
    if adapter is None:
        raise gr.Error(NO_ADAPTER, title="Not yet", print_exception=False)


def draw_portraits(adapter: Adapter, folder: Path | None, config: GenerateConfig) -> tuple:
    """Draw portraits; gives the gallery, a sentence, the zip and the folder. Raises ``gr.Error`` with the reason."""
    try:
        portraits = generate_portraits(adapter, config)
    except (AdapterError, BaseUnavailableError, ValueError) as error:
        raise gr.Error(str(error), title="No portraits", print_exception=False) from error
    folder = folder or new_folder()
    pictures, archive = _save(portraits, folder)
    shown = [
        (str(path), f"{caption(p.likeness, p.style)} · seed {p.seed}")
        for path, p in zip(pictures, portraits, strict=True)
    ]
    upscaler = portraits[0].settings.get("upscaler")
    size = portraits[0].image.size
    how = f", enlarged by {upscaler}." if upscaler else "."
    said = f"{len(portraits)} portraits of {size[0]} × {size[1]} pixels{how} Seed and settings are kept in each PNG."
    return shown, section("", said), gr.DownloadButton(value=str(archive), interactive=True), folder


def _save(portraits: list[Portrait], folder: Path) -> tuple[list[Path], Path]:
    """Write the portraits in place of those drawn before, and a zip with all of them."""
    target = folder / "portraits"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    paths = [
        portrait.save(target / f"portrait-{place:02d}-seed{portrait.seed}.png")
        for place, portrait in enumerate(portraits, start=1)
    ]
    return paths, Path(shutil.make_archive(str(folder / "magicapture-portraits"), "zip", target))
