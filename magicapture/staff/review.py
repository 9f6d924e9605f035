"""``staff review``: everyone looks at their own portraits first, by a personal one-time link."""

import argparse
import csv
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

from magicapture.settings import settings
from magicapture.staff.invite import invite, is_invited
from magicapture.staff.run_folder import RunFolder

PATH = "/review#"
"""The token stands behind the #, which browsers send nowhere: no log, no proxy and no preview of the link sees it."""
COLUMNS = ("person_id", "link", "valid_until")


def add_command(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    review = commands.add_parser("review", help="one-time links by which people decide on their own portraits")
    review.add_argument("run_folder", metavar="RUN", type=Path, help="folder of the run")
    add_links(review)
    review.add_argument("--again", nargs="+", default=[], metavar="PERSON", help="new links for these; old ones die")
    review.set_defaults(run=run_review)


def add_links(parser: argparse.ArgumentParser) -> None:
    """Describe where the links lead, and where they are written."""
    parser.add_argument("--links", type=Path, default=Path("links.csv"), help="CSV to send the links from; then delete")
    parser.add_argument("--address", help="what the page is served under, such as https://portraits.example")


def run_review(args: argparse.Namespace) -> tuple[dict, int]:
    """Prepare the reviews of all who have none, and write their links."""
    folder = RunFolder.existing(args.run_folder)
    unknown = [name for name in args.again if name not in folder.numbers()]
    if unknown:
        raise ValueError(f"Nobody in this run has the id {', '.join(unknown)}.")
    return open_review(folder, args.links, args.address, set(args.again)), 0


def open_review(folder: RunFolder, links: Path, address: str | None, again: Iterable[str] = ()) -> dict:
    """Prepare reviews and add their links to ``links``, readable for whoever runs this alone; gives the numbers.

    Links that stand there already and still lead somewhere stay: they may be unsent. Raises ``ValueError`` for a file
    that holds something else.
    """
    ready = {
        entry.row.person_id: entry.person
        for entry in folder.entries()
        if (result := folder.result(entry.key)) and result.state == "done"
    }
    waiting = {name: n for name, n in ready.items() if name in again or not is_invited(folder, n)}
    base = (address or f"http://{settings().server_name}:{settings().server_port}").rstrip("/")
    unsent = [row for row in _rows(links) if row[0] in ready and row[0] not in waiting]
    links.touch(mode=0o600)  # before anyone is invited: a link that cannot be written is lost
    links.chmod(0o600)
    rows = [(name, *invite(folder, number)) for name, number in waiting.items()]
    text = StringIO()
    written = [(name, f"{base}{PATH}{token}", expires.isoformat(timespec="minutes")) for name, token, expires in rows]
    csv.writer(text).writerows([COLUMNS, *unsent, *written])
    links.write_text(text.getvalue(), encoding="utf-8")
    return {"links": str(links), "invited": len(rows), "before": len(ready) - len(waiting)}


def _rows(links: Path) -> list[tuple[str, ...]]:
    """Read the links that an earlier call wrote; none where there is no such file."""
    if not links.exists() or not links.stat().st_size:
        return []
    with links.open(newline="", encoding="utf-8") as file:
        head, *rows = (tuple(row) for row in csv.reader(file))
    if head != COLUMNS:
        raise ValueError(f"{links.name} holds something else than links: name another file with --links.")
    return rows
