"""What a batch costs: a wrong figure here buys a machine, or stops a pilot."""

from dataclasses import replace
from pathlib import Path

import pytest

from magicapture.staff.cost import (
    PRICES,
    Demand,
    PricesError,
    break_even,
    cloud_bill,
    load_prices,
    own_bill,
)
from magicapture.staff.plan import as_json, as_table

THOUSAND = Demand(people=1000, cells=1000, cell_seconds=144, places=2)


def test_a_thousand_people_cost_what_the_arithmetic_says() -> None:
    prices = load_prices()
    bill = cloud_bill(THOUSAND, prices, prices.of("l4"))
    hours = (1000 * 144 * 1.02 + 2 * 60) / 3600
    assert bill.gpu_hours == pytest.approx(hours)
    assert bill.compute == pytest.approx(hours * 0.80)
    assert bill.review == pytest.approx(1000 * 2 / 60 * 40)
    assert bill.total == pytest.approx(bill.compute + bill.review + 4 * 40)
    own = own_bill(THOUSAND, prices)
    assert own.compute == pytest.approx(hours * 0.35 * 0.25)
    assert own.fixed == 3000 + 3 * 24 * 40


def test_at_the_break_even_both_bills_are_the_same() -> None:
    prices = load_prices()
    even = break_even(THOUSAND, prices, prices.of("l4"))
    both = [Demand(even, even, 144, 0), prices]
    assert cloud_bill(*both, prices.of("l4")).total == pytest.approx(own_bill(*both).total, rel=1e-3)


def test_power_dearer_than_the_cloud_never_pays_off() -> None:
    prices = load_prices()
    dear = replace(prices, own=replace(prices.own, tariff_per_kwh=10.0))
    assert break_even(THOUSAND, dear, dear.of("l4")) is None
    assert "| own machine pays off from | never |" in as_table(THOUSAND, dear, "l4")


def test_measured_seconds_are_not_sped_up_once_more() -> None:
    prices = load_prices()
    fast = replace(prices.of("h200"), speed=4.0)
    forecast = cloud_bill(THOUSAND, prices, fast)
    measured = cloud_bill(replace(THOUSAND, measured=3), prices, fast)
    assert measured.gpu_hours > 3.9 * forecast.gpu_hours
    assert "measured on 3 cells" in as_table(replace(THOUSAND, measured=3), prices, "h200")


def test_table_and_json_tell_the_same_and_every_figure_says_what_it_hangs_on() -> None:
    prices = load_prices()
    table, figures = as_table(THOUSAND, prices, "l4"), as_json(THOUSAND, prices, "l4")
    for value in (figures["gpu_hours"], figures["hours"], figures["max_cost"], *figures["cloud"].values()):
        assert f"| {value:.2f}" in table
    assert f"| {figures['break_even_people']} people" in table
    assert all(row.split("|")[3].strip() for row in table.splitlines()[2:])
    assert figures["cloud"]["l4"] < figures["max_cost"] < 1.3 * figures["cloud"]["l4"]


def test_nobody_at_all_costs_nothing_but_what_is_fixed() -> None:
    prices = load_prices()
    nobody = as_json(Demand(0, 0, 0.0, 1), prices, "l4")
    assert (nobody["people"], nobody["review"], nobody["break_even_people"]) == (0, 0, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("price_per_hour = 0.80", "price = 0.80"),
        ("price_per_hour = 0.80", "price_per_hour = -1"),
        ("price_per_hour = 0.80", 'price_per_hour = "cheap"'),
        ("price_per_hour = 0.80", "price_per_hour = nan"),
        ("years = 3", "years = 0"),
        ("[people]", "[persons]"),
        ("date =", "date"),
    ],
)
def test_prices_that_make_no_sense_are_refused_in_a_sentence(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(PRICES.read_text().replace(old, new))
    with pytest.raises(PricesError, match=r"The prices mine\.toml cannot be read .*: start from a copy of"):
        load_prices(path)


def test_hardware_without_a_price_names_those_that_have_one() -> None:
    with pytest.raises(PricesError, match="There is no price for gtx: choose from t4, l4"):
        load_prices().of("gtx")
