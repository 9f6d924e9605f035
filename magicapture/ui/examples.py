"""The synthetic people and styles that a visitor can try."""

import os
import re
from pathlib import Path

from magicapture.photos.reading import photos_in
from magicapture.photos.references import Role

EXAMPLES = Path(os.environ.get("MAGICAPTURE_EXAMPLES") or Path(__file__).parents[2] / "examples").resolve()


def examples(role: Role) -> dict[str, list[Path]]:
    """Give the example sets of a role: ``examples/person-anna/*.png`` comes under the name "Anna"."""
    found = {}
    for folder in sorted(EXAMPLES.glob(f"{role}-*/")):
        if pictures := photos_in(folder):
            found[re.sub(r"[-_]+", " ", folder.name.removeprefix(f"{role}-")).capitalize()] = pictures
    return found
