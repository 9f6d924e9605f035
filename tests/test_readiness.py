"""Nobody should learn from a refusal that their quota was too small: the page says the share before the start."""

import gradio as gr
import pytest
import stand_in

from magicapture.config import TrainConfig
from magicapture.photos.references import CheckedSet, Verdict
from magicapture.ui import readiness

CHECKED = CheckedSet("person", tuple(Verdict("me.jpg", reference) for reference in stand_in.references(32)))
MONA = {"name": "Mona", "preferred_username": "mona", "profile": "", "picture": ""}
STRANGER, MEMBER, PRO = None, gr.OAuthProfile(MONA), gr.OAuthProfile({**MONA, "isPro": True})


@pytest.mark.parametrize(
    ("profile", "said"),
    [(STRANGER, "75% without an account, 30% with a free account"), (MEMBER, "that is 30%."), (PRO, "that is 4%.")],
)
def test_the_share_of_the_quota_is_the_visitors_own(
    profile: gr.OAuthProfile | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "training_seconds", lambda *_: 60)
    monkeypatch.setattr(readiness, "ZERO_GPU", True)
    assert said in readiness.readiness(CHECKED, CHECKED, "mini", TrainConfig(), profile)


def test_where_time_is_not_counted_no_quota_is_mentioned() -> None:
    assert "quota" not in readiness.readiness(CHECKED, CHECKED, "mini", TrainConfig(), PRO)
