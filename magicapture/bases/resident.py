"""The bases in memory: the one place that loads them, once for each device, and keeps them while there is room."""

import gc
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

import torch

from magicapture.bases.base import Base, BaseError, BaseSpec, BaseUnavailableError
from magicapture.bases.loading import MISSING, here_alone, pipeline_kind
from magicapture.bases.registry import ALIKE, MINI, SPECS, resolve_base
from magicapture.messages import Message

logger = logging.getLogger(__name__)

KEPT = 2
"""Bases that stay on a GPU while nobody uses them."""

_LOOKING_UP = threading.Lock()
"""Held where ``_turn`` and ``_loader`` are looked up: each of two threads that ask at once would get its own."""


def load_base(name: str = "auto") -> Base:
    """Load the base called ``name`` (see ``resolve_base``) onto the thread's own GPU if there is one, once for each.

    Whoever asks for it while another thread loads it waits for that.
    Where "auto" finds no weights of ``sd15`` it gives ``mini``. Raises ``BaseUnavailableError`` otherwise, and
    ``BaseError`` for a base that is there but cannot be trained here.
    """
    spec = resolve_base(name, fetch=True)
    try:
        return _loaded(spec)
    except BaseUnavailableError:
        if name != "auto" or spec is MINI:
            raise
        return _loaded(MINI)


def _loaded(spec: BaseSpec) -> Base:
    """Load ``spec``, or find it where this or another thread has put it; see ``load_base``."""
    device = torch.cuda.current_device() if torch.cuda.is_available() else None
    with _LOOKING_UP:
        load, turn = _loader(device), _turn(device, spec.source)
    with turn:
        return load(spec)


@cache
def _turn(device: int | None, source: str) -> threading.Lock:
    """Give what one thread at a time holds to load the weights of ``source`` there; others' loading goes on."""
    del device, source
    return threading.Lock()


@cache
def _loader(device: int | None) -> Callable[[BaseSpec], Base]:
    """Give what loads bases onto a GPU, this thread's current one, and keeps the last of them."""
    del device
    return _Loader()


class _Loader:
    """Loads bases and keeps the last ``KEPT``, as long as there is room; what is in use is never loaded once more."""

    def __init__(self) -> None:
        self._kept: dict[str, Base] = {}  # by the source of their weights, the last used one last
        self._there: WeakValueDictionary[BaseSpec, Any] = WeakValueDictionary()  # those in use too

    def __call__(self, spec: BaseSpec) -> Base:
        """Give ``spec``, with the weights that are there if another spec has the same. Raises as ``load_base``."""
        alike = [spec, *(known for known in SPECS.values() if known.source == spec.source)]
        base: Any = next(filter(None, map(self._there.get, alike)), None) or self._with_room(spec)
        if base.spec != spec:
            base = replace(base, spec=spec)
        self._there[spec] = base
        self._kept.pop(spec.source, None)
        self._kept[spec.source] = base
        for source in list(self._kept)[:-KEPT]:
            self._kept.pop(source, None)  # another thread may have been here
        return base

    def _with_room(self, spec: BaseSpec) -> Base:
        """Load ``spec``; where the others that are kept leave no room for it, in their place."""
        try:
            return _load(spec)
        except torch.OutOfMemoryError:
            logger.warning("%s does not fit beside the bases that are kept: they make room for it.", spec.name)
        self._kept.clear()  # only now: the error held what was loaded of this one
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            return _load(spec)
        except torch.OutOfMemoryError as error:
            large = (
                "The GPU has too little free memory for the base model {title}. Free what other programs hold of it, "
                "or choose a smaller base model."
            )
            raise BaseError(Message(large, title=Message(spec.title))) from error


def _load(spec: BaseSpec) -> Base:
    if spec.name not in SPECS and (kind := pipeline_kind(spec.source)) not in (None, *ALIKE):
        other = "The base model {source} cannot be used: it is a {kind}, and {kinds} are known. Choose another one."
        raise BaseError(Message(other, source=spec.source, kind=kind, kinds=", ".join(ALIKE)))
    try:
        return spec.family.load(spec, here=here_alone(spec.source))
    except MISSING as error:
        raise BaseUnavailableError(
            Message(
                "The base model {source} could not be loaded: it is neither on this machine nor to be had from here. "
                'Check the name and the connection, or choose the base "mini", {title}.',
                source=spec.source,
                title=Message(MINI.title),
            )
        ) from error
