"""What a batch costs, in a cloud and on a machine of one's own, with the assumption that each figure hangs on."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PRICES = Path(__file__).parent / "prices.toml"
TEXTS = ("title", "date", "source", "currency", "hardware", "own")
"""What is no figure."""


class PricesError(ValueError):
    """Prices that cannot be used; the text says what to change."""


@dataclass(frozen=True)
class Hardware:
    """One GPU to be had by the hour. ``speed``: how many times as fast as the forecast's GPU."""

    title: str
    price_per_hour: float
    speed: float = 1.0
    date: str = ""  # of the price, where it is not that of all


@dataclass(frozen=True)
class Own:
    """A machine of one's own with one GPU."""

    price: float
    years: float
    watts: float
    tariff_per_kwh: float
    admin_hours_per_year: float
    speed: float = 1.0


@dataclass(frozen=True)
class Prices:
    """All assumptions about money and time: see ``prices.toml``."""

    date: str
    source: str
    currency: str
    hardware: dict[str, Hardware]
    own: Own
    cloud_admin_hours: float
    review_minutes: float
    wage_per_hour: float
    retries: float
    load_seconds: float
    margin: float

    @classmethod
    def parse(cls, values: dict) -> Self:
        """Check what a file says. Raises ``KeyError`` or ``TypeError`` for what is missing, unknown or no number."""
        hardware = {name: Hardware(**facts) for name, facts in values["hardware"].items()}
        own, people, work = Own(**values["own"]), values["people"], values["work"]
        prices = cls(
            date=str(values["date"]),
            source=str(values["source"]),
            currency=str(values["currency"]),
            hardware=hardware,
            own=own,
            cloud_admin_hours=values["cloud"]["admin_hours"],
            review_minutes=people["review_minutes"],
            wage_per_hour=people["wage_per_hour"],
            retries=work["retries"],
            load_seconds=work["load_seconds"],
            margin=work["margin"],
        )
        parts: list[dict] = [vars(part) for part in (prices, own, *hardware.values())]
        figures = [value for part in parts for name, value in part.items() if name not in TEXTS]
        speeds = [own.speed, *(part.speed for part in hardware.values())]
        if not all(type(value) in (int, float) and value >= 0 for value in figures) or min(own.years, *speeds) == 0:
            raise TypeError("figures are numbers from 0 on, speeds and years more than 0")
        return prices

    def of(self, name: str) -> Hardware:
        """Find hardware by its name. Raises ``PricesError`` when there is none."""
        if name not in self.hardware:
            raise PricesError(f"There is no price for {name}: choose from {', '.join(self.hardware)}.")
        return self.hardware[name]


def load_prices(path: Path | None = None) -> Prices:
    """Read prices, those that come along if no ``path`` is named. Raises ``PricesError`` when they cannot be read."""
    path = path or PRICES
    try:
        return Prices.parse(tomllib.loads(path.read_text()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise PricesError(f"The prices {path.name} cannot be read ({error}): start from a copy of {PRICES}.") from error


@dataclass(frozen=True)
class Demand:
    """What a batch takes: ``cells`` of ``people``, ``cell_seconds`` each on average, ``places`` side by side.

    ``measured``: how many cells the seconds were measured on, on the hardware in question; 0 for a forecast.
    """

    people: int
    cells: int
    cell_seconds: float
    places: int
    measured: int = 0

    def gpu_hours(self, prices: Prices, speed: float) -> float:
        """Give the hours that GPUs are paid for: all cells, some of them twice, and each worker's start."""
        seconds = self.cell_seconds / (1.0 if self.measured else speed)
        return (self.cells * seconds * (1 + prices.retries) + self.places * prices.load_seconds) / 3600


@dataclass(frozen=True)
class Bill:
    """What the batch costs in one place. ``fixed``: for any number of people; ``review`` is the same everywhere."""

    gpu_hours: float
    compute: float
    fixed: float
    review: float

    @property
    def total(self) -> float:
        """All together."""
        return self.compute + self.fixed + self.review


def review_cost(demand: Demand, prices: Prices) -> float:
    """Give what it costs that somebody looks at everyone's portraits."""
    return demand.people * prices.review_minutes / 60 * prices.wage_per_hour


def cloud_bill(demand: Demand, prices: Prices, hardware: Hardware) -> Bill:
    """Give the bill of rented GPUs."""
    hours = demand.gpu_hours(prices, hardware.speed)
    fixed = prices.cloud_admin_hours * prices.wage_per_hour
    return Bill(hours, hours * hardware.price_per_hour, fixed, review_cost(demand, prices))


def own_bill(demand: Demand, prices: Prices) -> Bill:
    """Give the bill of a machine that is bought for this and kept for ``own.years``."""
    own, hours = prices.own, demand.gpu_hours(prices, prices.own.speed)
    fixed = own.price + own.admin_hours_per_year * own.years * prices.wage_per_hour
    return Bill(hours, hours * own.watts / 1000 * own.tariff_per_kwh, fixed, review_cost(demand, prices))


def break_even(demand: Demand, prices: Prices, hardware: Hardware) -> int | None:
    """Give the number of people within ``own.years`` from which the own machine is cheaper; None if it never is."""
    cloud, own = cloud_bill(demand, prices, hardware), own_bill(demand, prices)
    saved = (cloud.compute - own.compute) / max(demand.people, 1)
    if saved <= 0 or not demand.people:
        return None
    return max(round((own.fixed - cloud.fixed) / saved), 0)
