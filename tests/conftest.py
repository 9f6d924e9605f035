"""Fixtures that several tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from running import CHROMIUM, PATIENCE, SWITCHES, running_app

from magicapture.faces import FaceEngine, load_engine
from magicapture.server.workspace import Workspace, new_key
from magicapture.settings import settings

LONG = ("test_end_to_end", "test_zero_gpu", "test_evaluation", "test_ray", "test_memory", "test_private", "test_jobs")
"""The files that take longest for how many tests they have."""
FIRST = ("test_remote",)
"""The file whose cluster has several nodes: a process that had one of its machine alone keeps to loopback."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no process is left alone with it at the end; files stay together."""
    rank = {name: place for place, name in enumerate((*FIRST, *LONG))}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    """Let every test set the environment that the app reads once."""
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute with one thread: sums of floats then come out the same each time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Give the folder of development photos beside the repository; without it the test is left out."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the shared development photos are not here")
    return folder


@pytest.fixture(scope="session")
def sitter(shared: Path) -> Path:
    """Give the folder of the one person of whom there are many photos."""
    return max((shared / "data/people").iterdir(), key=lambda folder: len(list(folder.glob("*.jpg"))))


@pytest.fixture(scope="session")
def builtin() -> FaceEngine:
    """Give the engine that comes with the app."""
    return load_engine("builtin")


@pytest.fixture
def portrait() -> Image.Image:
    """Give a photo of one person in the public domain, 512 × 512, the face about 100 pixels wide."""
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give examples of a person and a look: crops of one picture in the public domain, in colour and in grey."""
    folder = tmp_path_factory.mktemp("examples")
    portrait = Image.fromarray(skimage.data.astronaut()).crop((60, 0, 400, 340))
    for name, grey in (("person-someone", False), ("style-grey", True)):
        (folder / name).mkdir()
        for i in range(4):
            crop = portrait.crop((12 * i, 6 * i, 300 + 12 * i, 300 + 6 * i))
            (crop.convert("L") if grey else crop).save(folder / name / f"{i + 1}.png")
    return folder


@pytest.fixture(scope="session")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the app that tests share, each as visitors of their own: see ``running_app``."""
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="session")
def address(examples: Path, app_folder: Path) -> Iterator[str]:
    """Start that app and give its address."""
    with running_app(app_folder, examples) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Open the page in a fresh session; nothing may go wrong in its scripts."""
    context = browser.new_context(viewport={"width": 1180, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address)
    expect(page.locator("#consent input")).to_be_visible()
    yield page
    context.close()
    assert not faults


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give the folder of an installation's files; nothing lies there yet."""
    return tmp_path / "root"


@pytest.fixture
def mine(root: Path) -> Workspace:
    """Give the workspace of a visitor below ``root``."""
    return Workspace.of(new_key(), root)


@pytest.fixture
def other(root: Path) -> Workspace:
    """Give the workspace of another visitor."""
    return Workspace.of(new_key(), root)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()
