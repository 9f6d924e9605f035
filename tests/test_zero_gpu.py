"""The GPU boundary as ZeroGPU runs it: what visitors would lose in a worker that is forked, reused or refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest

from magicapture.server.gpu import refusal

PATIENCE = 900
"""Seconds for all cases together, on a busy machine."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Run every case in a process of its own and give what happened."""
    log = tmp_path_factory.mktemp("zero") / "log.txt"
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}", "GRADIO_ANALYTICS_ENABLED": "False"}
    with log.open("w+") as output:
        run = subprocess.Popen(
            [sys.executable, tests / "zero_gpu.py"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            run.wait(timeout=PATIENCE)
        finally:
            os.killpg(run.pid, signal.SIGKILL)  # its workers wait for ever
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    assert lines, log.read_text()
    return json.loads(lines[-1])


def test_training_in_slices_gives_the_adapter_of_one_piece(found: dict) -> None:
    assert found["whole"] == {"slices": 1, "events": 5}
    assert found["sliced"] == {"slices": 5, "events": 5, "same": True}


def test_training_opens_no_file_for_each_tensor(found: dict) -> None:
    # 256 may be open in each process there, and a checkpoint has many times as many tensors.
    assert found["whole"]["slices"] == 1


def test_scores_are_found_outside_the_worker_and_reach_the_adapter(found: dict) -> None:
    assert found["scored here"]
    assert found["scores"] == [1, 1]
    assert found["targets"]


def test_a_slice_that_comes_no_further_is_an_error_and_not_tried_for_ever(found: dict) -> None:
    assert "ended without a result" in found["fruitless"]


def test_visitors_do_not_wait_for_each_other(found: dict) -> None:
    assert found["side by side"] == ["finished", "finished", "2"]


def test_the_embedded_base_can_be_chosen_and_what_workers_need_is_made_before_they_are(found: dict) -> None:
    assert found["offered"] == [True, "mini"]
    chosen, unknown = found["embedded"]["said"]
    assert chosen == ""
    assert unknown.startswith("This Space has other base models: ")
    assert unknown.endswith("the embedded demo model, 256 px. Choose one of them.")
    assert found["embedded"]["done"] == ["mini", 2]
    assert found["embedded"]["converted by"] == [True]


def test_a_thing_is_trained_on_in_a_worker_with_the_dinov2_that_was_loaded_before_it(found: dict) -> None:
    assert found["thing"] == {"by": "dino", "scored": True, "loaded by": [True]}


def test_portraits_are_enlarged_after_they_were_chosen(found: dict) -> None:
    assert found["enlarged"] == [2, 2]


def test_a_used_worker_draws_for_the_next_visitor_as_a_fresh_one_would(found: dict) -> None:
    assert found["warm as fresh"]
    assert found["new workers"] == 0


def test_stopping_reaches_the_worker_and_keeps_what_was_learned(found: dict) -> None:
    assert found["stopped"] == {"events": 1, "steps": 1}


def test_errors_in_the_worker_arrive_as_sentences_and_free_the_gpu(found: dict) -> None:
    assert "trained on another one" in found["exception"]
    assert "ZeroDivisionError" in found["crash"]
    assert "go on from there, or try again" in found["crash"]
    assert any(cause in found["unpicklable"] for cause in ("PicklingError", "GPU task aborted"))  # from Python 3.13 on
    assert found["releases"] == 3


def test_refusals_name_the_limit_and_the_way_out(found: dict) -> None:
    assert "quota for today" in found["quota"]
    assert f"{found['seconds']} s of GPU time at once, so waiting does not help: sign in" in found["illegal"]


def test_a_gpu_that_was_busy_is_not_taken_for_a_quota_that_is_used_up() -> None:
    busy = "No GPU was available after 60s. Try re-running outside of examples if it happened after clicking one"
    assert refusal(gr.Error(busy, title="ZeroGPU quota exceeded")).startswith("No GPU came free in time")
    expired = refusal(gr.Error("Expired ZeroGPU proxy token", title="ZeroGPU client error"))
    assert "reload the page" in expired


def test_a_refusal_says_how_much_is_left_and_how_long_to_wait() -> None:
    said = "You have exceeded your free ZeroGPU quota (120s requested vs. 35s left). Try again in 3:20:00. "
    sentence = refusal(gr.Error(said, title="ZeroGPU quota exceeded"))
    assert "120 s of GPU time (35 s are left)" in sentence
    assert "in 3:20:00" in sentence


def test_faces_are_found_in_a_forked_worker_after_the_parent_found_one(found: dict) -> None:
    assert found["face"]
