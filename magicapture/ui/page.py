"""The whole page: a head, a tab per step, and what it runs on."""

from html import escape

import gradio as gr

from magicapture.bases import Base
from magicapture.faces import FaceEngine
from magicapture.ui import portraits, references, train
from magicapture.ui.session import KEPT_SECONDS, new_folder, new_session

SWEEP_SECONDS = 3600

HEAD = """<div class="magi-head"><h1>MagiCapture</h1>
<p>A few photos of a person, a few pictures of a look: the model learns both, and draws that person in that look.</p>
</div>"""


def build_page(base: Base, engine: FaceEngine) -> gr.Blocks:
    """Compose the page for the loaded ``base`` and face ``engine``."""
    with gr.Blocks(
        title="MagiCapture", analytics_enabled=False, delete_cache=(SWEEP_SECONDS, KEPT_SECONDS), fill_width=False
    ) as page:
        session = new_session()
        gr.HTML(HEAD)
        with gr.Tabs() as tabs:
            with gr.Tab("1 · References", id="references"):
                photos = references.build()
            with gr.Tab("2 · Train", id="train"):
                trainer = train.build(base.spec.name)
            with gr.Tab("3 · Portraits", id="portraits"):
                portraits.build(session)
        gr.HTML(foot(base, engine))
        references.connect(photos, session, trainer.base)
        train.connect(trainer, session, tabs)
        page.load(new_folder, outputs=session.folder, queue=False, api_visibility="private")
    return page


def foot(base: Base, engine: FaceEngine) -> str:
    """Say what the page runs on and under which licences."""
    device = "a GPU" if base.device.type == "cuda" else "the CPU"
    lines = (
        f"Draws with {base.spec.title} on {device} (licence of the base model: {base.spec.licence}).",
        f"Faces: {engine.name}. {engine.licence}",
        "Use photos of people who agreed to it. Photos, adapters and portraits stay on this server for about a day.",
    )
    return '<div class="magi-foot">' + "".join(f"<p>{escape(line)}</p>" for line in lines) + "</div>"
