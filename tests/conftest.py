"""Fixtures that several tests share."""

from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from magicapture.faces import FaceEngine, load_engine


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
