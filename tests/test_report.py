"""The pilot report must not say more than the pilot showed, and nothing about anybody."""

import json
from pathlib import Path

import pytest
from pilot import Member, Pilot

from magicapture.__main__ import main
from magicapture.evaluation.study import ANSWERS
from magicapture.staff.cost import load_prices
from magicapture.staff.decisions import OPENED
from magicapture.staff.intervals import newcombe, wilson
from magicapture.staff.report import FEWEST, figures_of
from magicapture.staff.report_text import NO_DIFFERENCE, as_markdown, likeness_plot


@pytest.mark.parametrize(
    ("successes", "n", "interval"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_wilsons_intervals_are_those_of_newcombes_first_paper(successes: int, n: int, interval: tuple) -> None:
    assert wilson(successes, n) == pytest.approx(interval, abs=5e-5)
    mirrored = wilson(n - successes, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx(interval, abs=5e-5)


@pytest.mark.parametrize(
    ("counts", "interval"),
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((6, 7, 2, 7), (0.0582, 0.8062)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((0, 10, 0, 20), (-0.1611, 0.2775)),
        ((0, 10, 0, 10), (-0.2775, 0.2775)),
        ((10, 10, 0, 20), (0.6791, 1)),
        ((10, 10, 0, 10), (0.6075, 1)),
    ],
)
def test_differences_of_shares_are_those_of_newcombes_second_paper(counts: tuple, interval: tuple) -> None:
    assert newcombe(*counts) == pytest.approx(interval, abs=5e-5)


def test_of_nobody_nothing_is_known_and_impossible_counts_are_refused() -> None:
    assert wilson(0, 0) == (0, 1)
    assert newcombe(0, 0, 1, 2) == (-1, 1)
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


@pytest.fixture
def pilot(tmp_path: Path) -> Pilot:
    return Pilot(
        tmp_path / "run",
        [
            Member("anna", ("kept", "artefacts")),
            Member("ben", ("not_like_me", "not_like_me")),
            Member("cleo", ("kept", "kept")),
            Member("dora", ("kept", "")),
            Member("emil", unusable="blurred"),
            Member("finn", consent_at="declined"),
            Member("gwen", consent_at=""),
        ],
    )


def test_people_and_portraits_are_counted_step_by_step(pilot: Pilot) -> None:
    told = figures_of(pilot.run, load_prices())
    assert told["people"] == {"invited": 7, "withdrawn": 0, "consented": 5, "usable": 4, "kept": 3}
    low, high = wilson(3, 4)
    assert told["steps"]["kept"] == {"of": 4, "n": 3, "share": 0.75, "interval": [round(low, 3), round(high, 3)]}
    assert told["unusable"] == {"blurred": 1}
    assert told["portraits"]["drawn"] == 8
    assert told["portraits"]["undecided"] == 1
    assert (told["portraits"]["kept"]["n"], told["portraits"]["kept"]["of"]) == (4, 7)
    assert told["portraits"]["reasons"] == {"not_like_me": 2, "artefacts": 1}
    assert told["likeness"] == {"kept": [0.7, 0.8, 0.8, 0.8], "rejected": [0.7, 0.7, 0.8]}


def test_the_last_word_on_a_portrait_counts(pilot: Pilot) -> None:
    drawn = pilot.run.result(f"{0:032x}").portraits[0]
    pilot.run.log("portrait_rejected", 1, key=f"{0:032x}", file=drawn.file, reason="other")
    assert figures_of(pilot.run, load_prices())["portraits"]["reasons"] == {
        "not_like_me": 2,
        "artefacts": 1,
        "other": 1,
    }


def test_a_person_in_two_looks_is_one_person(tmp_path: Path) -> None:
    both = Pilot(tmp_path / "run", [Member("anna", ("other",)), Member("anna", ("kept",), style="ink"), Member("ben")])
    people = figures_of(both.run, load_prices())["people"]
    assert (people["invited"], people["usable"], people["kept"]) == (2, 2, 1)


def test_minutes_and_money_are_counted_from_the_log_and_the_prices(pilot: Pilot) -> None:
    lines = []
    for number, minute in ((1, 0), (2, 10), (3, 20)):
        lines.append({"at": f"2026-11-05T10:{minute:02}:00+00:00", "what": OPENED, "person": number})
        kept = {"what": "portrait_kept", "person": number, "key": f"{number - 1:032x}", "file": "portrait-1.png"}
        lines.append({"at": f"2026-11-05T10:{minute + number:02}:30+00:00", **kept})
    lines.append({"at": "2026-11-05T11:00:00+00:00", "what": OPENED, "person": 4})  # and decided nothing
    lines += [{"at": "2026-11-04", "what": "cell_retried", "person": 2, "error": "BrokenProcessPool"}] * 2
    (pilot.folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    told = figures_of(pilot.run, load_prices(), "l4")
    assert told["review"]["people"] == 3
    assert told["review"]["minutes"]["median"] == 2.5
    assert told["review"]["minutes"]["sum"] == 7.5
    cost = told["cost"]
    seconds = 4 * 108 + 1
    assert cost["gpu_hours"] == round(seconds / 3600, 3)
    compute, review = seconds / 3600 * 0.80, 7.5 / 60 * 40
    assert cost["per_kept_portrait"] == round((compute + review) / 3, 3)
    assert told["incidents"] == {"retries": 2, "failures": 0, "errors": {"BrokenProcessPool": 2}}


def groups(tmp_path: Path, **sizes: tuple[int, int]) -> dict:
    """Give the figures of groups by how many are in them and how many of these kept something."""
    members = [
        Member(f"{name}{n}", ("kept",) if n < kept else ("other",), "" if name == "none" else name)
        for name, (size, kept) in sizes.items()
        for n in range(size)
    ]
    return figures_of(Pilot(tmp_path / "run", members).run, load_prices())


def test_groups_are_compared_only_where_people_gave_one(tmp_path: Path) -> None:
    assert groups(tmp_path, none=(12, 5))["groups"] == {}


def test_groups_are_compared_by_newcombes_interval_with_the_largest(tmp_path: Path) -> None:
    told = groups(tmp_path, north=(10, 9), south=(5, 2), east=(2, 1), coast=(2, 1), west=(4, 1))
    assert told["groups"]["reference"] == "north"
    assert list(told["groups"]["shown"]) == ["north", "south"]
    assert told["groups"]["shown"]["north"]["difference"] is None
    difference = told["groups"]["shown"]["south"]["difference"]
    assert difference == [round(bound, 3) for bound in newcombe(2, 5, 9, 10)]
    text = as_markdown(told, "plot.svg")
    assert NO_DIFFERENCE in text
    assert "east" not in text
    assert "west" not in text


def test_a_small_group_is_not_found_by_subtracting_the_others(tmp_path: Path) -> None:
    told = groups(tmp_path, north=(10, 9), south=(7, 2), east=(FEWEST - 1, 1))
    assert list(told["groups"]["shown"]) == ["north"], "all but one group would give the last one away"
    assert told["groups"]["hidden"] == 2
    (tmp_path / "two").mkdir()
    told = groups(tmp_path / "two", north=(10, 9), none=(3, 1))
    assert told["groups"]["shown"] == {}


def test_the_report_names_and_shows_nobody(pilot: Pilot, capsys: pytest.CaptureFixture) -> None:
    assert main(["staff", "report", str(pilot.folder)]) == 0
    printed = capsys.readouterr().out
    written = [path.read_text() for path in sorted((pilot.folder / "report").iterdir())]
    assert sorted(path.name for path in (pilot.folder / "report").iterdir()) == [
        "likeness.svg",
        "report.json",
        "report.md",
    ]
    for text in (printed.replace(str(pilot.folder), ""), *written):
        found = [member.person_id for member in pilot.members if member.person_id in text]
        assert found == []
        assert "portrait-1.png" not in text
        assert "photos/" not in text
    assert json.loads(printed.splitlines()[-1])["kept"] == 3


def test_a_hostile_group_stays_within_its_table(tmp_path: Path) -> None:
    hostile = "a | b\n<script>alert(1)</script> [x](javascript:1)"
    text = as_markdown(groups(tmp_path, **{hostile: (6, 1), "north": (6, 2)}), "plot.svg")
    assert "<script>" not in text
    assert "[x](" not in text.replace("\\[x](", "")
    row = next(line for line in text.splitlines() if "alert" in line)
    assert row.replace("\\|", "").count("|") == 5


def test_an_empty_run_and_its_plot_are_told_without_an_error(tmp_path: Path) -> None:
    told = figures_of(Pilot(tmp_path / "run", [Member("anna", consent_at="declined")]).run, load_prices())
    assert told["steps"]["usable"]["share"] is None
    assert "0 were put to their people" in as_markdown(told, "plot.svg")
    assert likeness_plot(told["likeness"]).count("<rect") > 2
    plot = likeness_plot({"kept": [-1.0, 1.0, 0.55], "rejected": []})
    assert plot.count('height="140.0"') == 3


def test_the_votes_of_a_blind_study_count(pilot: Pilot, tmp_path: Path) -> None:
    answers = ["left,right,person,style,likeness,style,natural"]
    answers += ["ours,other,p,s,ours,ours,other"] * 8 + ["other,ours,p,s,other,ours,other"] * 2
    (tmp_path / ANSWERS).write_text("\n".join(answers) + "\n")
    told = figures_of(pilot.run, load_prices(), study=tmp_path)["study"]
    assert told["ours"]["likeness"]["n"] == 8
    assert told["ours"]["likeness"]["interval"] == [round(bound, 3) for bound in wilson(8, 10)]
    assert "## Blind study" in as_markdown({**figures_of(pilot.run, load_prices()), "study": told}, "p.svg")


def test_a_folder_without_a_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["staff", "report", str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err
