"""What only some bases have stays behind one door, or the next family of bases would break what reads it elsewhere."""

import re
from pathlib import Path

import pytest
import tiny
import torch

from magicapture.bases import Conditioning

PACKAGE = Path(__file__).parents[1] / "magicapture"
FAMILIES_OWN = re.compile(
    r"attn2|clip_l|alphas_cumprod|[\"']mini[\"']|\bunet\b|text_encoder\b|\btokenizer\b|UNet2D|StableDiffusion|Flux2|"
    r"transformer_blocks|joint_attention|[\"']flux2"
)
OUTSIDE = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if path.relative_to(PACKAGE).parts[0] not in ("bases", "mini")  # the latter is the recipe that trains a base
)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_but_the_bases_knows_how_a_base_is_made(path: Path) -> None:
    found = [
        f"{number}: {line}" for number, line in enumerate(path.read_text().splitlines(), 1) if FAMILIES_OWN.search(line)
    ]
    assert found == []


def test_the_server_knows_of_gradio_where_requests_come_in_and_where_spaces_raises_its_errors() -> None:
    server = PACKAGE / "server"
    asking = [
        path.name
        for path in server.glob("*.py")
        if re.search(r"^\s*(import|from) gradio", path.read_text(), re.MULTILINE)
    ]
    assert asking == ["gpu.py"]
    assert set(re.findall(r"\bgr\.\w+", (server / "gpu.py").read_text())) == {"gr.Error"}
    assert not re.search(r"raise gr\.", (server / "gpu.py").read_text())


def test_the_dial_moves_all_that_a_picture_is_conditioned_on() -> None:
    def of(value: float) -> Conditioning:
        pooled = {"pooled": torch.full((1, 3), 10 * value)}
        return Conditioning(torch.full((1, 2, 4), value), torch.tensor([[1], [-1]]), pooled)

    moved = of(1.0).towards(of(3.0), of(2.0), 0.5).expand(4)
    assert torch.equal(moved.embeddings, torch.full((4, 2, 4), 1.5))
    assert torch.equal(moved.extras["pooled"], torch.full((4, 3), 15.0))
    assert moved.positions.tolist() == [[1] * 4, [-1] * 4]


def test_a_prompt_says_where_the_two_words_stand_and_that_one_is_missing() -> None:
    base = tiny.base(sample_size=16)
    prompts = ["a photo of <magi-person> person", "a photo of a person in the <magi-style> style", "a photo"]
    assert (base.condition(prompts).positions == -1).all()
    with base.concept_tokens(base.initial_rows(0.0, torch.Generator())):
        person, style = base.condition(prompts).positions.tolist()
    assert person[0] > 0
    assert style[1] > person[0]
    assert [person[1], person[2], style[0], style[2]] == [-1] * 4
