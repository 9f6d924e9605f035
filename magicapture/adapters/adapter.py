"""The result of a training: LoRA, tokens and what is known of them. Saving, loading, and putting it on a base."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from magicapture.adapters.card import model_card
from magicapture.adapters.info import DAMAGED, INFO_FILE, MAX_PHOTOS, AdapterError, AdapterInfo
from magicapture.adapters.start import Start
from magicapture.bases import Base, Rows, resolve_base
from magicapture.bases.base import LORA_FILE, ROWS_FILE
from magicapture.bases.lora import load_lora, lora_layers
from magicapture.bases.words import TOKENS
from magicapture.messages import Message
from magicapture.photos.palette import Palette
from magicapture.photos.subjects import scorer_of
from magicapture.scoring import Targets

TARGETS_FILE = "magicapture_targets.safetensors"
"""What describes a person beyond the weights: part of the folder and the zip, never of what is pushed to the Hub."""
PHOTOS = "photos"
UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError)
"""What reading tensors of any type and shape raises: torch has no answer for the rarest types."""
EARLIER = (
    "The adapter in {name} was trained on an earlier embedded demo model and cannot be used with today's: train it "
    "again, with the same photos."
)
ANOTHER_BASE = "The adapter's layers do not fit this base model: it was trained on another one."


@dataclass(frozen=True, eq=False)
class Adapter:
    """A trained adapter.

    ``lora``: PEFT's state dict of the denoiser's LoRA; ``rows``: (2, D) embeddings of the trigger words by text
    encoder; ``targets``: what its portraits are scored against, None where they were left out or another recogniser
    made them than scores now (``info.scored_by``): portraits are then "not comparable"; ``photos``: (P, C, h, w)
    latents of the person's photos, from which drawing can start, None unless the visitor wanted them kept.
    """

    lora: dict[str, Tensor]
    rows: Rows
    info: AdapterInfo
    targets: Targets | None = None
    photos: Tensor | None = None

    @property
    def start(self) -> Start:
        """What its drawing starts from."""
        return Start.of(self.info.latent_mean, self.info.layouts, self.photos)

    @property
    def nbytes(self) -> int:
        """Bytes of its weights and of the photos that it keeps."""
        photos = () if self.photos is None else (self.photos,)
        return sum(tensor.nbytes for tensor in (*self.lora.values(), *self.rows.values(), *photos))

    @property
    def palette(self) -> Palette | None:
        """What its portraits are held to."""
        return None if self.info.palette is None else Palette.read(self.info.palette)

    def save(self, folder: Path) -> Path:
        """Write the files that ``load`` reads and stock diffusers understands; gives ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        spec = resolve_base(self.info.base)
        spec.family.save_weights(spec, folder, self.lora, self.rows)
        photos = {} if self.photos is None else {PHOTOS: self.photos.half().contiguous()}
        if self.targets is not None:
            save_file(vars(self.targets) | photos, folder / TARGETS_FILE)
        (folder / INFO_FILE).write_text(self.info.as_json())
        (folder / "README.md").write_text(model_card(self.info))
        return folder

    @classmethod
    def load(cls, folder: Path) -> "Adapter":
        """Read an adapter.

        Raises ``AdapterError`` when a file is missing, damaged or does not belong to the others, and when it was
        trained on an earlier one of the embedded bases.
        """
        missing = [name for name in (INFO_FILE, LORA_FILE, ROWS_FILE) if not (folder / name).is_file()]
        if missing:
            lacks = "{name} is not a complete adapter: it lacks {files}."
            raise AdapterError(Message(lacks, name=folder.name, files=", ".join(missing)))
        info = AdapterInfo.read(folder)
        spec = resolve_base(info.base)
        if spec.embedded not in (None, info.base_source):
            raise AdapterError(Message(EARLIER, name=folder.name))
        scorer, width = scorer_of(info.subject)
        try:
            lora, rows = spec.family.read_weights(folder)
            comparable = info.scored_by == scorer and (folder / TARGETS_FILE).is_file()
            personal = load_file(folder / TARGETS_FILE) if comparable else {}
            photos = personal.pop(PHOTOS, None)
            targets = _targets(personal, width) if personal else None
            _check_shapes(info, lora, rows)
            _check_photos(photos)
        except (*UNREADABLE, SafetensorError) as error:
            raise AdapterError(Message(DAMAGED, name=folder.name, reason=error)) from error
        return cls(lora, rows, info, targets, photos)


def _targets(personal: dict[str, Tensor], width: int) -> Targets:
    """Raise ``ValueError`` unless these are targets for embeddings of ``width`` numbers."""
    if personal["person"].shape != (width,):
        raise ValueError(f"What its portraits are scored against has the wrong shape: not {width} numbers.")
    return Targets(**personal)


def _check_photos(photos: Tensor | None) -> None:
    """Raise ``ValueError`` unless these can be latents of a few photos."""
    if photos is None:
        return
    if photos.ndim != 4 or not 0 < len(photos) <= MAX_PHOTOS or not photos.is_floating_point():
        raise ValueError(f"{TARGETS_FILE} holds no latents of photos.")
    if not photos.isfinite().all():
        raise ValueError(f"the latents of photos in {TARGETS_FILE} are no finite numbers.")


def _check_shapes(info: AdapterInfo, lora: dict[str, Tensor], rows: Rows) -> None:
    """Raise ``ValueError`` unless the weights are those that ``info`` describes: layers of its rank, two rows each."""
    ranks = {tuple(value.shape[:1]) for key, value in lora.items() if ".lora_A." in key}
    if ranks != {(info.rank,)}:
        raise ValueError(f"{INFO_FILE} does not describe it (rank).")
    if not rows or any(value.ndim != 2 or len(value) != len(TOKENS) for value in rows.values()):
        raise ValueError(f"{ROWS_FILE} does not hold two words.")
    if not all(value.is_floating_point() and value.isfinite().all() for value in (*lora.values(), *rows.values())):
        raise ValueError("its weights are no finite numbers.")


@contextmanager
def applied(base: Base, adapter: Adapter) -> Iterator[None]:
    """Put ``adapter`` on ``base`` for the length of a ``with`` block; leaving restores every weight, token and hook.

    Raises ``AdapterError`` when the adapter was trained on a base of another shape.
    """
    if not _has_same_widths(base, adapter):
        unfit = "The adapter does not fit the base {base}: it was trained on another one."
        raise AdapterError(Message(unfit, base=base.spec.name))
    with (
        base.concept_tokens(adapter.rows, adapter.info.subject),
        lora_layers(base.denoiser, adapter.info.rank, base.spec.lora_targets),
    ):
        try:
            load_lora(base.denoiser, adapter.lora)
        except ValueError as error:
            raise AdapterError(ANOTHER_BASE) from error
        yield


def _has_same_widths(base: Base, adapter: Adapter) -> bool:
    """Compare the tokens with the text encoders, and what drawing starts from with the latents."""
    start = adapter.start
    widths = {encoder: (len(TOKENS), width) for encoder, width in base.row_widths.items()}
    return widths == {encoder: tuple(rows.shape) for encoder, rows in adapter.rows.items()} and (
        (start.mean is None or start.mean.shape == base.latent_shape[:1])
        and (start.photos is None or start.photos.shape[1:] == base.latent_shape)
    )
