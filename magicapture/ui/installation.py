"""What this installation is and what it lacks: one line, so that nobody has to guess why something is not offered."""

from pathlib import Path

import torch
from huggingface_hub import get_token

from magicapture.bases import MINI, resolve_base
from magicapture.messages import Message, joined
from magicapture.server.forecast import device
from magicapture.server.gpu import ZERO_GPU
from magicapture.settings import Settings
from magicapture.ui.session import OwnBase

DRIVER_FILES = (Path("/dev/nvidia0"), Path("/proc/driver/nvidia/version"))
"""What the driver of an NVIDIA GPU shows on Linux, whether torch can use it or not."""


def installation(base: OwnBase, settings: Settings) -> Message:
    """Say where the page runs, and what that place lacks with what it means for a visitor."""
    return joined(" ", _place(base, settings), *_lacks(base, settings))


def _place(base: OwnBase, settings: Settings) -> str:
    if ZERO_GPU:
        return "Runs on a ZeroGPU Space: GPU time counts towards your daily quota."
    gpu = "with a GPU" if _has_gpu(base, settings) else "without a GPU"
    if settings.private:
        return f"Runs in private mode {gpu}: no connection leaves this server, and adapters come and go as zip files."
    place = "Space" if settings.space else "local machine"
    return Message(f"Runs on a {{place}} {gpu}.", place=Message(place))


def _lacks(base: OwnBase, settings: Settings) -> list[str]:
    lacks: list[str] = []
    if not _has_gpu(base, settings) and any(path.exists() for path in DRIVER_FILES):
        lacks.append(_why_unused())
    elif base.spec is not MINI and not _has_gpu(base, settings):
        lacks.append(Message("There is no GPU here: with {base}, training takes hours.", base=Message(base.spec.title)))
    elif base.spec is MINI and not _has_gpu(base, settings):
        small = "Portraits are small here: without a GPU the embedded demo model draws, {n} px."
        lacks.append(Message(small, n=MINI.resolution))
    elif base.spec is MINI and resolve_base() is not MINI:
        missing = "Portraits are small here: {base} could not be loaded, so the embedded demo model draws, {n} px."
        lacks.append(Message(missing, base=Message(resolve_base().title), n=MINI.resolution))
    if not settings.private and not (settings.sign_in or (settings.lends_host_token and get_token())):
        how = "hf_oauth in the Space's settings" if settings.space else "a token (hf auth login)"
        missing = (
            "You can download your adapters as a zip, but not push them to the Hub: no account is set up for that "
            "here ({setting})."
        )
        lacks.append(Message(missing, setting=Message(how)))
    return lacks


def _why_unused() -> Message:
    """Say why torch does not use the GPU that is here."""
    if torch.version.cuda is None:
        return Message("The GPU here is not used: this torch is built for CPUs. Install one that is built for CUDA.")
    old = "The GPU here is not used: its driver is too old for CUDA {version}. Update the NVIDIA driver."
    return Message(old, version=torch.version.cuda)


def _has_gpu(base: OwnBase, settings: Settings) -> bool:
    return device() == "cuda" if settings.engine != "local" else base.device.type == "cuda"
