"""The load test itself: figures that hide a failure would be worse than none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from gradio_client.utils import QueueError
from running import PATIENCE, ROOT

from magicapture.evaluation.load import Tally, table


def test_a_refusal_counts_as_busy_and_anything_else_as_a_failure() -> None:
    tally = Tally()
    for error in (QueueError("Queue is full!"), OSError("reset by peer"), None):
        with tally.one():
            if error:
                raise error
    assert tally.busy == ["Queue is full!"]
    assert tally.failed == ["OSError: reset by peer"]
    assert len(tally.seconds) == 1


def test_the_slowest_answers_are_in_the_table() -> None:
    lines = table({"page": Tally(seconds=[0.1] * 19 + [9.0]), "draw": Tally(failed=["gone"])}).splitlines()
    assert lines[2] == "| page | 20 | 0 | 0 | 0.10 | 0.55 | 9.00 |"
    assert lines[3].startswith("| draw | 0 | 0 | 1 |")


@pytest.mark.slow
def test_a_few_visitors_at_once_are_all_served(examples: Path, tmp_path: Path) -> None:
    base = tiny.saved(tmp_path / "base")
    sets = ["--person", str(examples / "person-someone"), "--style", str(examples / "style-grey")]
    command = [sys.executable, "-m", "magicapture.evaluation.load", "--base", base, *sets]
    result = subprocess.run(
        [*command, "--visitors", "3", "--steps", "6"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures["draw"]["through"] == figures["check"]["through"] == 3
    assert figures["train"]["through"] == 1
    assert figures["page"]["through"] > 3
    assert figures["page"]["failed"] == 0
