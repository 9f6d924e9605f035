"""What visitors agree to before they show photos of anyone."""

from magicapture.messages import Html, Message, joined
from magicapture.settings import Settings
from magicapture.subject import PERSON_NOUN
from magicapture.ui.html import hours
from magicapture.ui.language import say

QUESTION = "I may use these photos: everyone in them has agreed to it, or it is me."
QUESTION_OF_THINGS = "I may use these photos: what they show is mine or may be shown, and everyone in them has agreed."


def question(noun: str) -> str:
    """Give what visitors agree to who want to train on what ``noun`` names."""
    return say(QUESTION if noun == PERSON_NOUN else QUESTION_OF_THINGS)


def terms(settings: Settings) -> Message:
    """Say what is done with the photos, what is kept, and for how long."""
    kept = (
        "Photos, masks and the measurements of each face are deleted when training ends, or {time} after upload. "
        "Adapters, with the mean of those measurements, and portraits stay on this server for {longer}."
    )
    if settings.private:
        kept = kept.replace(" on this server", "")
    return joined(
        " ",
        "Your photos are used for one thing: to train your own adapter and to score its portraits.",
        Message(kept, time=hours(settings.photo_hours), longer=hours(settings.result_hours)),
        "Of each photo 8 × 8 dots of colour stay with the adapter, small copies of the photos only if you ask for it.",
        "Nobody else sees them, nothing else is trained with them, and you can delete everything at any time.",
        "Do not make pictures that deceive or harm anyone.",
    )


def shown_terms(settings: Settings, given: bool) -> str:
    """Show the terms; once the consent is ``given`` they fold, and can be read again at any time."""
    html = '<details class="magi-section terms" open><summary><h2>{title}</h2></summary><p>{terms}</p></details>'
    if given:
        html = html.replace(" open", "")
    title = Message("What happens with your photos" if given else "Before you begin")
    return say(Html(html, title=title, terms=terms(settings)))
