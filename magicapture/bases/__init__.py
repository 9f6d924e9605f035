"""The base models an adapter can be trained on: all that differs between them stays behind this door."""

from magicapture.bases.base import Base, BaseError, BaseSpec, BaseUnavailableError, Conditioning, Prediction, Rows
from magicapture.bases.registry import (
    FLUX2,
    MINI,
    SD15,
    SDXL,
    SPECS,
    ZERO_GPU_TFLOPS,
    offered_bases,
    resolve_base,
)
from magicapture.bases.resident import load_base

__all__ = [
    "FLUX2",
    "MINI",
    "SD15",
    "SDXL",
    "SPECS",
    "ZERO_GPU_TFLOPS",
    "Base",
    "BaseError",
    "BaseSpec",
    "BaseUnavailableError",
    "Conditioning",
    "Prediction",
    "Rows",
    "load_base",
    "offered_bases",
    "resolve_base",
]
