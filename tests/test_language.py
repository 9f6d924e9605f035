"""The page in Japanese: nothing that it can show stays English, and values survive the translation."""

import ast
import itertools
import pickle
import re
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import gradio as gr
import httpx
import pytest
import running
import tiny
from gradio.context import LocalContext
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from running import PATIENCE
from visiting import slide

from magicapture.adapters.info import AdapterInfo
from magicapture.bases import MINI
from magicapture.faces import FaceEngine
from magicapture.faces.insight import InsightFaceEngine
from magicapture.messages import Message, joined
from magicapture.photos.reading import PhotoError, Problem
from magicapture.scoring import LIKENESS_WORDS
from magicapture.server import hub
from magicapture.server.jobs import Jobs
from magicapture.server.records import Records
from magicapture.settings import Settings
from magicapture.ui import html, live, photo_grid, portrait_grid, portraits
from magicapture.ui.language import CATALOGUES, hand_to_browser, say, translate, user_error
from magicapture.ui.page import build_page
from magicapture.ui.readiness import what_is_missing
from magicapture.ui.session import AppContext, OwnBase

PACKAGE = Path(__file__).parents[1] / "magicapture"
SPEAKING = (
    *("adapters.adapter", "adapters.info", "bases.base", "bases.flux2", "bases.registry", "bases.unet"),
    *("drawing.credentials", "faces.quality", "faces.look", "photos.reading", "photos.references", "subject"),
    *("things.thing", "things.networks", "things.painting", "things.segmenter"),
    *(f"server.{name}" for name in ("drawings", "engine", "gpu", "hub", "jobs", "queue")),
    *(f"server.workspace.{name}" for name in ("folder", "invitation", "portraits", "shelf", "subject")),
    *(f"server.workspace.{name}" for name in ("uploads", "visitor")),
    *(f"ui.{name}" for name in ("adapters", "consent", "gallery", "html", "hub", "installation", "live", "page")),
    *(f"ui.{name}" for name in ("photo_grid", "portrait_grid", "portraits", "readiness", "references", "session")),
    *(f"ui.{name}" for name in ("examples", "farewell", "judging", "painting", "review", "steps", "subject", "train")),
    *(f"ui.{name}" for name in ("drawing_view", "training_view", "welcome")),
    *("server.gate.review", "server.gate.visits", "staff.review_workspace"),
)
"""The modules whose sentences visitors read."""
MADE_OF_SENTENCES = {"{name}: {reason}"}
SAMPLE = "7"
SENTENCE = re.compile(r"[A-Z“\d{][^\n<]* [^\n<]*([.…]|: \{\w+\})")
VALUE = re.compile(r"\{\w+\}")
SEEN = re.compile(r'(?:^|>|(?:alt|title|aria-label)=")([^<>"]*[a-z]{3}[^<>"]*)')
"""What of a text, which may be HTML, is read and has Latin letters."""
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
UPSCALER = "tiny-x4 (RealESRGAN Compact)"
NAMES = re.compile(r"RealESRGAN Compact|Hugging Face|Stable Diffusion|MagiCapture|hf auth login|smiling, in a garden")
ENGLISH = re.compile(r"[A-Za-z]{2,}[,:]? [A-Za-z]{2,}")


def untranslated(texts: set[str]) -> list[str]:
    """Give those of which more than names and values stays English, and those that lose a value."""
    said = {text: translate(text, "ja") for text in texts}
    english = {text for text, ja in said.items() if not JAPANESE.search(ja) or ENGLISH.search(NAMES.sub("", ja))}
    return sorted(english | {text for text, ja in said.items() if set(VALUE.findall(text)) != set(VALUE.findall(ja))})


def sentences_of(name: str) -> set[str]:
    """Find the sentences in a module's source, in each of their forms."""
    module = import_module(f"magicapture.{name}")
    tree = ast.parse(Path(module.__file__).read_text())
    nodes = list(ast.walk(tree))
    simple = [node for node in nodes if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    assigned = [(node.targets[0].id, node.value) for node in simple]

    def forms(node: ast.AST) -> list[str]:
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.JoinedStr(values=parts):
                return ["".join(form) for form in itertools.product(*map(forms, parts))]
            case ast.FormattedValue(value=value):
                return forms(value)
            case ast.IfExp(body=body, orelse=orelse):
                return forms(body) + forms(orelse)
            case ast.Name(id=known) if isinstance(getattr(module, known, None), str):
                return [getattr(module, known)]
            case ast.Name(id=known):
                found = [form for name, value in assigned if name == known for form in forms(value)]
                return [form for form in found if form != SAMPLE] or [SAMPLE]
        return [SAMPLE]

    unseen = {id(part) for node in nodes if is_unseen(node) for part in ast.walk(node)}
    wholes = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    unseen |= {id(part) for whole in wholes for part in ast.walk(whole) if part is not whole}
    spoken = [node for node in nodes if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in unseen]
    return {form for node in spoken for form in forms(node) if SENTENCE.fullmatch(form)} - MADE_OF_SENTENCES


def is_unseen(node: ast.AST) -> bool:
    """Tell docstrings, what is logged, and errors for programmers, which visitors do not see."""
    match node:
        case (
            ast.Expr(value=ast.Constant())
            | ast.Call(func=ast.Name(id="ValueError") | ast.Attribute(value=ast.Name(id="logger")))
        ):
            return True
    return False


@pytest.mark.parametrize("name", SPEAKING)
def test_every_sentence_that_a_visitor_can_meet_has_a_translation(name: str) -> None:
    assert untranslated(sentences_of(name)) == []


def test_every_short_text_that_a_visitor_can_meet_has_a_translation() -> None:
    labels = {"Keep", "Reject", "Compare", "Download", "Seed and settings", "Enlarged", "Added"}
    labels |= {"What happens with your photos", portrait_grid.UNLIKE_THE_THING, "person", "thing", "of the {noun}"}
    labels |= {*portraits.CHIPS_OF_THINGS, *portraits.DIAL_OF_THINGS, "The {noun}"}
    labels |= {*live.PHASES.values(), *live.ENDS.values(), *photo_grid.BADGES.values(), *portrait_grid.REASONS}
    likeness = {text for _, text in LIKENESS_WORDS} | {f"{text} {{n}}" for _, text in LIKENESS_WORDS}
    waiting = {"Waiting: one is before you", "Waiting: {n} are before you", "about {time} until your turn"}
    numbers = {"about {time} left", "step {n} of {m}", "style {n}", "seed {n}", "kept ✓", "not comparable"}
    numbers |= {html.duration(4800), html.hours(0.5), html.hours(1), html.hours(24)}
    losses = {f"{name} {{n}}" for name in live.LOSS_COLOURS}
    titles = {title for name in SPEAKING if name.startswith("ui.") for title in titles_of(name)}
    assert len(titles) > 8
    assert untranslated(labels | likeness | waiting | numbers | losses | titles) == []


def titles_of(name: str) -> set[str]:
    """Find the titles of the errors that a module raises."""
    tree = ast.parse((PACKAGE / f"{name.replace('.', '/')}.py").read_text())
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    last = (call.args[-1] for call in calls if call.func.id in ("user_error", "user_errors", "_user_errors"))
    return {node.value for node in last if isinstance(node, ast.Constant)}


def test_what_the_hub_answers_and_what_training_lacks_is_translated_to_the_last_part() -> None:
    refused = HfHubHTTPError("no", response=httpx.Response(500, request=httpx.Request("GET", "http://localhost")))
    reasons = [*hub.PUSH_ANSWERS.values(), *hub.PULL_ANSWERS.values(), hub._reason(OSError(), {})]
    reasons += [hub._reason(ValueError("no"), {}), hub._reason(refused, {})]
    assert untranslated({str(hub._error(hub.NOT_PUSHED, *reason)) for reason in reasons}) == []
    said = translate(what_is_missing(None, None), "ja")
    assert said == "人物の写真がまだありません。「参考写真」タブをご覧ください。"


def test_every_component_of_the_page_is_translated_in_the_browser(builtin: FaceEngine, tmp_path: Path) -> None:
    settings, records = Settings.from_environment(), Records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    page = build_page(
        AppContext(OwnBase.of(tiny.base(sample_size=16)), builtin, settings, records, Jobs(records), None)
    )
    shown = [part for part in page.config["components"] if part["type"] not in ("api", "state", "timer")]
    texts = {text for part in shown for text in visible_texts(part["type"], part["props"])}
    assert len(texts) > 60
    japanese = hand_to_browser(page).translations["ja"]
    shown_there = {said for text in texts for said in SEEN.findall(japanese.get(text, text))}
    english = {said for said in shown_there if not JAPANESE.search(said) or ENGLISH.search(NAMES.sub("", said))}
    assert english == {"my-portraits", "Hugging Face Hub", "MagiCapture"}
    assert InsightFaceEngine.licence in CATALOGUES["ja"]


def visible_texts(kind: str, props: dict) -> set[str]:
    texts = {props.get(name) for name in ("label", "info", "placeholder")}
    texts |= {props.get("value")} if kind in ("html", "button") else set()
    return (texts | {label for label, _ in props.get("choices") or ()}) - {None, ""}


def test_signing_in_still_works_in_japanese() -> None:
    caption = "Sign in with Hugging Face"  # Gradio's button signs out when it reads another one
    assert translate(caption, "ja") == caption


def test_values_survive_and_are_translated_themselves() -> None:
    counts = Message("Ready: {n} photos of the person, {m} of the style.", n=5, m=4)
    steps = Message("{n} steps, about {time}.", n=300, time=html.duration(4800))
    assert translate(joined(" ", counts, steps), "ja") == (
        "準備ができました。人物の写真5枚、スタイルの写真4枚。300ステップ、約1時間20分です。"
    )
    scores = ({"step": 4, "likeness": 0.52, "style": 0.81},)
    info = AdapterInfo.of(MINI, preset="quick", rank=2, steps=8, best_step=4, engine="builtin", scores=scores)
    ready = live.summary(info)
    assert ready == "Your adapter is ready: 8 steps, the best state at step 4: some of you 0.52 · style 0.81."
    assert translate(ready, "ja").endswith("ステップ 4 です（本人の面影あり 0.52 · スタイル 0.81）。")
    same = Message("This is the same photo as {first}.", first="my {holiday} 1.jpg")
    assert translate(same, "ja") == "my {holiday} 1.jpgと同じ写真です。"


def test_what_a_visitor_wrote_is_never_translated() -> None:
    for theirs in ("Delete", "quick", "usable", "step 3 of 8", "One is before you; your turn comes in about 1 hour."):
        values = {"title": theirs, "preset": "x", "n": 1, "base": "y"}
        said = translate(Message("In use: {title} ({preset}, {n} steps, base {base}).", **values), "ja")
        assert said == f"使用中: {theirs}（x、1ステップ、ベース: y）。"


def test_an_error_keeps_what_its_sentence_is_made_of() -> None:
    message = Message("The picture has more than {n} megapixels.", n=5)
    error = PhotoError(Problem("large", "unusable", message, "Use a sharp photo."))
    assert translate(str(error), "ja") == "画像が5メガピクセルを超えています。鮮明な写真をお使いください。"
    assert translate(str(pickle.loads(pickle.dumps(error.args[0]))), "ja") == translate(str(error), "ja")


def test_a_long_text_does_not_hold_the_page_up() -> None:
    said = "x " * 5000 + ". " + "Ready: " * 1000
    started = time.monotonic()
    for text in (said, Message("{name} is not there any more. Upload it again.", name=said), html.note(said)):
        translate(text, "ja")
    assert time.monotonic() - started < 1


def test_a_visitor_without_a_catalogue_or_with_an_unknown_sentence_reads_english() -> None:
    assert translate("Drawing …", "fr") == "Drawing …"
    assert translate("A sentence of tomorrow.", "ja") == "A sentence of tomorrow."


def test_a_file_name_cannot_smuggle_markup_through_the_translation() -> None:
    named = Message("This is the same photo as {first}.", first="<img src=x onerror=alert(1)>.jpg")
    said = translate(html.note(named), "ja")
    assert "&lt;img src=x onerror=alert(1)&gt;.jpgと同じ写真です。" in said
    assert "<img" not in said


@pytest.mark.parametrize(
    ("asked", "said"), [("ja-JP,ja;q=0.9,en;q=0.8", "削除"), ("fr,ja;q=0.9", "Delete"), ("", "Delete")]
)
def test_the_server_speaks_the_language_that_the_browser_asks_for_first(asked: str, said: str) -> None:
    token = LocalContext.request.set(gr.Request(headers={"accept-language": asked}))
    try:
        assert say("Delete") == said
        assert user_error("Delete", "Delete").message == said
    finally:
        LocalContext.request.reset(token)


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Open the page in a browser whose user reads Japanese."""
    context = browser.new_context(locale="ja-JP", viewport={"width": 1180, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(address)
    yield page
    context.close()


def english_on(page: Page) -> list[str]:
    """Give the visible lines in which English words follow each other."""
    lines = page.locator(".gradio-container").inner_text().splitlines()
    return [line for line in lines if ENGLISH.search(NAMES.sub("", line))]


@running.needs_browser
def test_a_japanese_visitor_reads_japanese_from_the_first_photo_to_the_portrait(page: Page, tmp_path: Path) -> None:
    expect(page.get_by_role("tab", name="参考写真")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "ja"
    page.get_by_label("これらの写真を使う許可があります").check()
    Image.new("RGB", (300, 300), "white").save(tmp_path / "wall.png")
    page.locator("#person-photos input[type=file]").first.set_input_files(tmp_path / "wall.png")
    expect(page.locator("#person-verdicts")).to_contain_text("顔が見つかりませんでした。")
    assert english_on(page) == []

    page.get_by_role("tab", name="学習").click()
    expect(page.locator("#ready")).to_contain_text("人物の写真を使用できません。")
    start = page.locator("#start-training")
    expect(start).to_be_disabled()
    start.evaluate("button => button.disabled = false")  # the server refuses it all the same
    start.click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("人物の写真を使用できません。")
    expect(page.get_by_test_id("toast-body")).not_to_contain_text("Error", use_inner_text=True)
    assert english_on(page) == []

    page.get_by_role("tab", name="参考写真").click()
    expect(page.locator("#load-examples")).not_to_be_visible()
    page.locator("#person-verdicts .remove").click()
    page.locator("#load-examples").click()
    expect(page.locator("#style-verdicts .magi-tile")).to_have_count(4)
    expect(page.locator("#person-verdicts")).to_contain_text("4枚中1枚を使用できます。")
    assert english_on(page) == []
    page.get_by_role("tab", name="学習").click()
    expect(page.locator("#ready")).to_contain_text("準備ができました。")
    page.locator("#advanced button").first.click()
    page.locator("#steps input").fill("4")
    page.locator("#steps input").blur()
    expect(page.locator("#ready")).to_contain_text("4ステップ")
    page.locator("#start-training").click()
    expect(page.locator("#training-result")).to_contain_text("アダプターができました。")
    assert english_on(page) == []

    page.get_by_role("button", name="ポートレートを作る").first.click()
    expect(page.locator("#adapter-status")).to_contain_text("使用中: クイック")
    slide(page, "count", 1)
    page.locator("#upscale").get_by_label("4倍").check()
    page.locator("#draw").click()
    expect(page.locator("#portraits-said")).to_contain_text(f"ポートレートが1枚できました（{UPSCALER} ×4で拡大）。")
    assert english_on(page) == []
    page.get_by_role("tab", name="マイアダプター").click()
    expect(page.locator("#adapter-facts")).to_contain_text("プリセット: クイック")
    assert english_on(page) == []


@running.needs_browser
def test_english_is_not_read_out_as_german(browser: Browser, address: str) -> None:
    page = browser.new_page(locale="de-DE")
    page.goto(address)
    expect(page.locator("#consent input")).to_be_enabled()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.close()
