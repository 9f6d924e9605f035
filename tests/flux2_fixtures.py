"""What the tests of FLUX.2 [klein] share."""

import pytest
import tiny_flux2
import torch
from torch import Tensor

from magicapture.bases.flux2 import Flux2


@pytest.fixture(scope="module")
def base() -> Flux2:
    return tiny_flux2.base()


@pytest.fixture
def rows(base: Flux2) -> dict[str, Tensor]:
    return base.initial_rows(0.017, torch.Generator().manual_seed(0))
