"""Which of the files in visitors' folders are shown, told by their paths alone, relative to the served folder."""

import re

from magicapture.server.workspace.folder import NAME, TEMPORARY

PARTS = rf"photos|portraits|adapters|jobs|review|{re.escape(TEMPORARY)}[^/]*"
OF_VISITORS = re.compile(rf"{NAME}/({PARTS})(/.*)?", re.DOTALL)
CROP = re.compile(rf"(?P<visitor>{NAME})/photos/crops/[^/]+")
RESULT = re.compile(
    rf"{NAME}/("
    r"portraits/(new|kept|drawn)/[^/]+\.png|portraits/portraits\.zip"
    r"|adapters/[0-9a-f]{16}/[^/]+\.zip|jobs/[0-9a-f]+/previews/[^/]+\.png"
    r")"
)


def is_visitors_file(within: str) -> bool:
    """Tell what lies in a visitor's folder from uploads, which have folders of their own."""
    return OF_VISITORS.fullmatch(within) is not None


def crops_visitor(within: str) -> str | None:
    """Give the name of the visitor of whose photo this is a crop, which is shown to them alone; None for all else."""
    crop = CROP.fullmatch(within)
    return crop and crop["visitor"]


def is_result(within: str) -> bool:
    """Tell what programs fetch, too, by paths that cannot be guessed.

    Photos, masks, plans, checkpoints and face measurements are not among it: nobody is shown them.
    """
    return RESULT.fullmatch(within) is not None
