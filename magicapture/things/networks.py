"""What compares things: DINOv2 (Oquab et al., 2023) where it can be had, else the ImageNet network of the app.

Embeddings of one cannot be compared with those of another, so each has a name that says which it is.
"""

import hashlib
import logging
from functools import lru_cache
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, Dinov2Model, Dinov2WithRegistersModel, PreTrainedModel

from magicapture.bases.loading import MISSING, here_alone
from magicapture.features import CHANNELS, NETWORK, image_features, pooled_features
from magicapture.messages import Message
from magicapture.settings import settings

AUTO, IMAGENET = "auto", "imagenet"
"""The two sources that are no model: what is on this disk, and the network that comes with the app."""
DINOV2 = "facebook/dinov2-small"
"""What "auto" looks for. It is too small to keep notes in its patches, which is what registers are for (Darcet et al.,
2023)."""
KINDS = {"dinov2": Dinov2Model, "dinov2_with_registers": Dinov2WithRegistersModel}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB in [0, 1], as ``Dinov2``'s processor normalises it."""
GRID = 16
"""Patches a side: of 14 pixels each, as its authors judge it, 224 in all."""
SEEN = 0.5
"""Patches that show less of a thing than this share of what the fullest one shows are not looked at."""

APACHE = "The network that compares things is under Apache-2.0: commercial use is allowed."
OWN = "The network that compares things was chosen by whoever runs this, who knows its licence."
LACKING = "{source} is neither on this machine nor to be had from here: things are compared by {network} instead."
NOT_ONE = (
    "{source} is no DINOv2 model that can be read: set MAGICAPTURE_THING_NETWORK to one such as {known}, to auto or to "
    "imagenet."
)
logger = logging.getLogger(__name__)


class ThingNetworkError(ValueError):
    """A model that cannot compare things was set; the text says what to set instead."""


class ThingNetwork(nn.Module):
    """Embeds what a mask shows of square pictures.

    ``name``: what its embeddings are called where they are kept; ``side``: of the pictures, in pixels; ``width``: how
    many numbers an embedding has; ``source``: what to set to have the same elsewhere; ``lacking``: one sentence for
    visitors if it takes another's place.
    """

    name: str
    side: int
    width: int
    source: str
    licence: str = APACHE
    lacking: str = ""

    def forward(self, things: Tensor, weights: Tensor) -> Tensor:
        """Embed ``things`` (B, 3, side, side), RGB in [-1, 1], as (B, width) vectors of length 1, differentiably.

        ``weights``: (B, 1, side, side) in 0–1, 1 on the thing.
        """
        raise NotImplementedError


class ImageNetNetwork(ThingNetwork):
    """Averages ImageNet features over the mask: colours, materials and parts, not how they are arranged."""

    name, side, width, source = NETWORK, 96, CHANNELS, IMAGENET

    def __init__(self, lacking: str = "") -> None:
        """Take the network that comes with the app; ``lacking`` says in whose place."""
        super().__init__()
        self.network, self.lacking = image_features(), lacking

    def forward(self, things: Tensor, weights: Tensor) -> Tensor:
        """See ``ThingNetwork.forward``."""
        return pooled_features(self.network, things, weights)


class Dino(ThingNetwork):
    """DINOv2's class token beside the mean of its patches, of the last layer, each of length 1.

    So it was compared for finding the same picture again (Caron et al., 2021, copy detection). The patches outside the
    mask are left out of the attention: whatever stands around the thing, its embedding stays the same.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: PreTrainedModel, source: str) -> None:
        """Take ``model``, a ``Dinov2Model`` with or without registers, from ``source``."""
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        config = model.config
        self.source, self.name = source, f"{Path(source).name[:100]} {_digest(model)}"
        self.licence = APACHE if source == DINOV2 else OWN
        self.patch, self.side, self.width = config.patch_size, GRID * config.patch_size, 2 * config.hidden_size
        self.others = 1 + getattr(config, "num_register_tokens", 0)  # tokens before the patches
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    @classmethod
    def load(cls, source: str, *, here: bool) -> Self:
        """Load it from the Hub, or from a folder; from this disk alone if ``here``.

        Raises what is ``MISSING`` if it cannot be had, ``ThingNetworkError`` if it is something else.
        """
        try:
            kind = AutoConfig.from_pretrained(source, local_files_only=here).model_type
            if kind in KINDS:
                model, told = KINDS[kind].from_pretrained(
                    source,
                    local_files_only=here,
                    dtype=torch.float32,
                    attn_implementation="sdpa",
                    output_loading_info=True,
                )
                if not told["missing_keys"]:
                    return cls(model, source)
        except (ValueError, RuntimeError, SafetensorError) as error:
            raise ThingNetworkError(Message(NOT_ONE, source=source, known=DINOV2)) from error
        raise ThingNetworkError(Message(NOT_ONE, source=source, known=DINOV2))

    def forward(self, things: Tensor, weights: Tensor) -> Tensor:
        """See ``ThingNetwork.forward``."""
        shares = F.avg_pool2d(weights, self.patch).flatten(1)
        seen = shares >= SEEN * shares.amax(dim=1, keepdim=True)
        attended = F.pad(seen, (self.others, 0), value=True)[:, None, None]
        pixels = ((things + 1) / 2 - self.mean) / self.std
        tokens = self.model(pixel_values=pixels, attention_mask=attended).last_hidden_state
        shares = (shares * seen)[:, :, None]
        patches = (tokens[:, self.others :] * shares).sum(dim=1) / shares.sum(dim=1).clamp(min=1e-6)
        return F.normalize(torch.cat([F.normalize(tokens[:, 0], dim=1), F.normalize(patches, dim=1)], dim=1), dim=1)


def load_network() -> ThingNetwork:
    """Give what compares things here, loaded once per process, on the CPU.

    ``MAGICAPTURE_THING_NETWORK`` names a DINOv2 model on the Hub or a folder with one; "auto" takes ``DINOV2`` if it is
    on this disk; "imagenet" never does. Whatever cannot be had is replaced by the network that comes with the app.
    Raises ``ThingNetworkError`` if another kind of model is set.
    """
    return _load(settings().thing_network)


@lru_cache(maxsize=2)
def _load(source: str) -> ThingNetwork:
    if source == IMAGENET:
        return ImageNetNetwork()
    auto = source == AUTO
    try:
        return Dino.load(DINOV2 if auto else source, here=auto or here_alone(source))
    except MISSING as error:
        if auto:
            return ImageNetNetwork()
        if isinstance(error, ThingNetworkError):
            raise
        lacking = Message(LACKING, source=source, network=NETWORK)
        logger.warning("%s", lacking)
        return ImageNetNetwork(lacking)


def _digest(model: nn.Module) -> str:
    """Tell models of one name apart by their weights, whatever a version of transformers calls these."""
    parts = sorted(hashlib.sha256(tensor.contiguous().numpy().tobytes()).digest() for tensor in model.parameters())
    return hashlib.sha256(b"".join(parts)).hexdigest()[:8]
