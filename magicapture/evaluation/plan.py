"""What is to be compared: tables of methods on people and styles, read from a TOML file."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from magicapture.bases import MINI

PLANS = Path(__file__).parent / "plans"


class PlanError(ValueError):
    """A plan that cannot be carried out; the text says what to change."""


@dataclass(frozen=True)
class Cell:
    """One method on one person in one style with one seed. People and styles are counted from 0."""

    method: str
    person: int
    style: int
    seed: int

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.method}-person{self.person + 1}-style{self.style + 1}-seed{self.seed}"


@dataclass(frozen=True)
class Table:
    """One table of the report: ``methods`` on the first ``people`` and ``styles``, with ``seeds`` trainings of each.

    ``groups``: by what people are told apart, such as a gender or skin tone as the set of photos labels them; then, by
    the name of each group, who is in it, counted from 1. The report sets every group beside the first one.
    """

    title: str
    methods: list[str]
    people: int
    styles: int
    seeds: int = 1
    groups: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def cells(self) -> list[Cell]:
        """List its cells, all methods of one pair before the next pair: what is there early can be compared."""
        pairs = [(s, p, i) for s in range(self.seeds) for i in range(self.styles) for p in range(self.people)]
        return [Cell(method, person, style, seed) for seed, person, style in pairs for method in self.methods]


@dataclass(frozen=True)
class Plan:
    """A whole comparison.

    ``people`` and ``styles``: patterns of folders; ``images``: portraits of each cell; ``steps``: of every training, 0
    for the number that a method has by itself; ``pictures``: whether the report shows portraits, which those of real
    people who have not agreed to it must not; ``judge``: who measures likeness, another than stands in the loss;
    ``look``: what style is measured by, "imagenet" or "clip".
    """

    people: str
    styles: str
    images: int
    tables: list[Table]
    base: str = MINI.name
    preset: str = "quick"
    steps: int = 0
    pictures: bool = True
    judge: str = "dlib"
    look: str = "imagenet"

    def cells(self) -> list[Cell]:
        """List the cells of all tables, each once."""
        return list(dict.fromkeys(cell for table in self.tables for cell in table.cells()))

    def folders(self, data: Path) -> tuple[list[Path], list[Path]]:
        """Find the folders of people and styles below ``data``. Raises ``PlanError`` when there are too few."""
        people, styles = (
            sorted(path for path in data.glob(pattern) if path.is_dir()) for pattern in (self.people, self.styles)
        )
        wanted = max(table.people for table in self.tables), max(table.styles for table in self.tables)
        for folders, pattern, count in zip((people, styles), (self.people, self.styles), wanted, strict=True):
            if len(folders) < count:
                raise PlanError(f"The plan wants {count} folders {pattern} below {data}; {len(folders)} are there.")
        return people, styles


def load_plan(name: str) -> Plan:
    """Read the plan that comes under ``name`` ("default", "tiny", "groups"), or a file.

    Raises ``PlanError`` when there is none or it cannot be read.
    """
    path = Path(name) if name.endswith(".toml") else PLANS / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text())
        return Plan(**{**values, "tables": [Table(**table) for table in values.pop("tables")]})
    except FileNotFoundError as error:
        raise PlanError(f"There is no plan {name}: name a .toml file, or one of {', '.join(plan_names())}.") from error
    except (tomllib.TOMLDecodeError, TypeError, KeyError) as error:
        raise PlanError(f"The plan {name} cannot be read: {error}.") from error


def plan_names() -> list[str]:
    """List the plans that come with the package."""
    return sorted(path.stem for path in PLANS.glob("*.toml"))


def picture_of(out: Path, cell: Cell, place: int) -> Path:
    """Say where below ``out`` the portrait of ``cell`` with the seed ``place`` lies."""
    return out / "portraits" / f"{cell.name}-{place}.png"


def split(photos: list[Path]) -> tuple[list[Path], list[Path]]:
    """Give the photos to judge on (the first half) and those to train on (the rest)."""
    return photos[: len(photos) // 2], photos[len(photos) // 2 :]
