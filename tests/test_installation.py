"""What an installation is: what its variables say is done or refused, and a line tells visitors what it lacks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from magicapture.bases import MINI, SD15, BaseSpec
from magicapture.settings import Settings, settings
from magicapture.ui import installation as module
from magicapture.ui.installation import installation

Line = Callable[..., str]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    """Give the line for a place, told in words; there is nothing from this machine's own environment in it."""

    def given(
        spec: BaseSpec = MINI,
        device: str = "cpu",
        private: bool = False,
        zero: bool = False,
        token: str = "",
        driver: tuple[Path, ...] = (),
        **env: str,
    ) -> str:
        for name in ("SPACE_ID", "OAUTH_CLIENT_ID", "MAGICAPTURE_BASE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        monkeypatch.setattr(module, "ZERO_GPU", zero)
        monkeypatch.setattr(module, "DRIVER_FILES", driver)
        monkeypatch.setattr(module, "get_token", lambda: token)
        base = SimpleNamespace(spec=spec, device=torch.device(device))
        return installation(base, replace(Settings.from_environment(), private=private))

    return given


def test_a_complete_installation_names_nothing_as_missing(line: Line) -> None:
    on_zero_gpu = line(SD15, "cuda", zero=True, SPACE_ID="me/space", OAUTH_CLIENT_ID="id")
    assert on_zero_gpu == "Runs on a ZeroGPU Space: GPU time counts towards your daily quota."
    assert line(SD15, "cuda", SPACE_ID="me/space", OAUTH_CLIENT_ID="id") == "Runs on a Space with a GPU."
    assert line(SD15, "cuda", token="hf_me") == "Runs on a local machine with a GPU."


def test_without_a_gpu_the_visitor_learns_why_portraits_are_small(line: Line) -> None:
    said = line(token="hf_me")
    assert said.startswith("Runs on a local machine without a GPU. Portraits are small")


@pytest.mark.parametrize("spec", [MINI, SD15])
def test_a_gpu_that_torch_cannot_use_is_not_said_to_be_missing(
    line: Line, spec: BaseSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    said = line(spec, token="hf_me", driver=(tmp_path,))
    assert "its driver is too old for CUDA 13.0. Update the NVIDIA driver." in said
    monkeypatch.setattr(torch.version, "cuda", None)
    said += line(spec, token="hf_me", driver=(tmp_path,))
    assert "Install one that is built for CUDA." in said
    assert "Portraits are small" not in said
    assert "not used" not in line(spec, "cuda", token="hf_me", driver=(tmp_path,))


def test_a_large_base_without_a_gpu_is_said_to_take_hours(line: Line) -> None:
    assert "with Stable Diffusion 1.5, 512 px, training takes hours" in line(SD15, token="hf_me")


def test_a_base_that_could_not_be_loaded_is_named(line: Line) -> None:
    said = line(MINI, "cuda", token="hf_me", MAGICAPTURE_BASE="sd15")
    assert "Stable Diffusion 1.5, 512 px could not be loaded, so the embedded demo model draws" in said
    assert "could not be loaded" not in line(MINI, "cuda", token="hf_me", MAGICAPTURE_BASE="mini")


@pytest.mark.parametrize(
    ("place", "advice"), [({"SPACE_ID": "me/space"}, "hf_oauth in the Space's settings"), ({}, "hf auth login")]
)
def test_without_an_account_the_visitor_learns_that_only_the_zip_is_left(
    line: Line, place: dict[str, str], advice: str
) -> None:
    said = line(SD15, "cuda", **place)
    assert "as a zip, but not push them" in said
    assert advice in said


def test_the_owners_token_on_a_space_is_not_taken_for_the_visitors(line: Line) -> None:
    assert "not push them" in line(SD15, "cuda", token="hf_owner", SPACE_ID="me/space")


def test_private_mode_promises_what_it_keeps_and_advises_no_sign_in(line: Line) -> None:
    said = line(SD15, "cuda", private=True)
    assert said == (
        "Runs in private mode with a GPU: no connection leaves this server, and adapters come and go as zip files."
    )


@pytest.mark.parametrize("name", ["PRIVATE", "HOST_TOKEN"])
def test_a_switch_that_is_set_to_anything_but_0_or_1_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_USERS", "anna:a-secret")
    for value, on in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv(f"MAGICAPTURE_{name}", value)
        assert getattr(Settings.from_environment(), name.lower()) is on
    for value in ("true", "yes", "on", "2", "01", "1.0", " 1"):
        monkeypatch.setenv(f"MAGICAPTURE_{name}", value)
        with pytest.raises(ValueError, match=f"MAGICAPTURE_{name} must be 0 or 1; it is '{value}'"):
            Settings.from_environment()


HOURS = (("0.25", "168"), ("0", "-1", "nan", "inf", "1e9", "a day"), "a number above 0 and at most 1000000")
COUNTS = (("1", "12"), ("0", "-1", "0.5", "nan", "inf", "many"), "a whole number from 1 to 1000000")
PORTS = (("0", "9108"), ("-1", "65536", "80.5", "inf", "http"), "a whole number from 0 to 65535")
LIKENESS = (("-1", "0", "0.7", "1"), ("70", "-1.1", "nan", "high"), "a number from -1 to 1")
ALLOWED = {
    **dict.fromkeys(("MAGICAPTURE_PHOTO_HOURS", "MAGICAPTURE_RESULT_HOURS", "MAGICAPTURE_DISK_GB"), HOURS),
    **dict.fromkeys(("MAGICAPTURE_SLICE_SECONDS", "MAGICAPTURE_SLICE_SECONDS_SIGNED_IN"), HOURS),
    **dict.fromkeys(("MAGICAPTURE_JOBS_PER_VISITOR", "MAGICAPTURE_JOBS_PER_ADDRESS"), COUNTS),
    "MAGICAPTURE_DRAWINGS_PER_ADDRESS": COUNTS,
    **dict.fromkeys(("MAGICAPTURE_METRICS_PORT", "GRADIO_SERVER_PORT"), PORTS),
    "MAGICAPTURE_MIN_LIKENESS": LIKENESS,
}


@pytest.mark.parametrize("variable", ALLOWED)
def test_a_number_that_makes_no_sense_is_refused_by_the_name_of_its_variable(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = variable.partition("_")[2].lower()
    monkeypatch.delenv(variable, raising=False)
    default = getattr(Settings.from_environment(), field)
    usable, refused, what = ALLOWED[variable]
    for value in ("", *usable):
        monkeypatch.setenv(variable, value)
        assert getattr(Settings.from_environment(), field) == (float(value) if value else default)
    for value in refused:
        monkeypatch.setenv(variable, value)
        with pytest.raises(ValueError, match=f"{variable} must be {what}.*; it is '{value}'"):
            Settings.from_environment()
