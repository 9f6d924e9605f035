"""The whole page: a head, a tab per step, and what it runs on."""

from pathlib import Path

import gradio as gr

from magicapture.bases import BaseSpec
from magicapture.messages import Html, Message, joined
from magicapture.things.networks import load_network
from magicapture.ui import adapters, api, portraits, references, review, steps, train, welcome
from magicapture.ui.html import hours
from magicapture.ui.installation import installation
from magicapture.ui.session import AppContext, enter, new_session
from magicapture.ui.steps import TABS, Way

HEAD = Html(
    '<div class="magi-head"><h1>MagiCapture</h1><p>{about}</p></div>',
    about=Message(
        "A few photos of a person, a few pictures of a look: the model learns both, and draws that person in that look."
    ),
)

UNMEASURED = "What its numbers mean is not measured: they rank portraits of one thing, and have no words."

SCRIPT = (Path(__file__).parent / "page.js").read_text()


def build_page(context: AppContext) -> gr.Blocks:
    """Compose the page for what the process has loaded."""
    with gr.Blocks(title="MagiCapture", analytics_enabled=False, fill_width=False) as page:
        session = new_session(context.settings)
        gr.HTML(HEAD)
        invited = review.build()
        entered = page.load(enter, session.key, [session.key, session.visitor], queue=False, api_visibility="private")
        page.load(None, js=SCRIPT, api_visibility="private")
        with gr.Tabs(overflow_behavior="wrap") as tabs:
            with gr.Tab(TABS["references"], id="references") as first:
                greeting = welcome.build(context)
                photos = references.build(context)
            with gr.Tab(TABS["train"], id="train") as second:
                trainer = train.build(context.base.spec.name, session)
            with gr.Tab(TABS["portraits"], id="portraits") as third:
                gallery = portraits.build(context, session, third, entered)
            with gr.Tab(TABS["adapters"], id="adapters") as shelf:
                adapters.build(context, session, tabs, [entered, shelf.select], gallery.listed)
        gr.HTML(foot(context))
        welcome.connect(greeting, context, session, photos.agreed, tabs)
        references.connect(photos, context, session, trainer.base, entered)
        train.connect(trainer, context, session, entered)
        way = Way(tabs, first, second, third, photos.onwards, trainer.onwards, gallery.keep_all)
        steps.connect(way, session, gallery.listed)
        review.connect(invited, context, session, tabs, entered)
        api.connect(context)
    return page


def foot(context: AppContext) -> str:
    """Say what the page runs on, what is missing, under which licences, and what is kept for how long."""
    base, settings = context.base, context.settings
    kept = hours(settings.result_hours)
    draws = "Draws with {base} (licence of the base model: {licence})."
    lines = {
        "place": installation(base, settings),
        "draws": Message(draws, base=Message(base.spec.title), licence=base.spec.licence),
        "faces": joined(" ", Message("Faces: {engine}.", engine=Message(context.engine.name)), context.engine.licence),
        "things": things(base.spec),
        "kept": Message("Photos are deleted when training ends, adapters and portraits after {time}.", time=kept),
    }
    html = (
        '<details class="magi-foot"><summary>{about}</summary>'
        "<p>{place}</p><p>{draws}</p><p>{faces}</p><p>{things}</p><p>{kept}</p></details>"
    )
    return Html(html, about=Message("About this installation"), **lines)


def things(spec: BaseSpec) -> Message | str:
    """Say what compares things, and how little its numbers say; nothing where people alone can be trained."""
    if not spec.things:
        return ""
    network = load_network()
    name = Message("Things: {network}.", network=network.name)
    return joined(" ", name, network.licence, network.lacking, UNMEASURED)
