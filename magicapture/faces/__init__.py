"""Finding, outlining and recognising faces: one protocol, two engines.

``builtin`` comes with the app and may be used commercially; ``insightface`` is stronger and for research only.
"""

import logging
from functools import lru_cache

from magicapture.faces.builtin import BuiltinEngine
from magicapture.faces.engine import FaceEngine
from magicapture.faces.face import Face
from magicapture.faces.insight import InsightFaceEngine, pack_folder, require_download
from magicapture.settings import settings

__all__ = ["ENGINES", "EngineUnavailableError", "Face", "FaceEngine", "engine_here", "load_engine"]

ENGINES = ("auto", "builtin", "insightface")
logger = logging.getLogger(__name__)


class EngineUnavailableError(Exception):
    """An engine cannot be had here; ``str(error)`` is a sentence for visitors that says what to do instead."""


def load_engine(name: str | None = None, pack: str | None = None) -> FaceEngine:
    """Give a face engine, loaded once per process.

    ``name``: "builtin"; "insightface", whose pack is downloaded to ``~/.insightface`` if it is not there; or "auto",
    which is insightface if its pack is already on this disk and loads, else builtin, and never downloads. ``pack``: a
    pack of insightface or a folder with one. Without them the environment variables ``MAGICAPTURE_FACE_ENGINE`` and
    ``MAGICAPTURE_FACE_PACK`` decide, and then "auto" and "buffalo_l".

    In private mode the built-in one is the only one. Raises ``EngineUnavailableError`` for an unknown name, and when
    insightface's pack cannot be had.
    """
    name = name or settings().face_engine
    pack = pack or settings().face_pack
    if name not in ENGINES:
        raise EngineUnavailableError(f"There is no face engine “{name}”. Choose one of: {', '.join(ENGINES)}.")
    if name == "insightface" and settings().private:
        raise EngineUnavailableError(
            "insightface's models are for non-commercial research, so private mode does without them: unset "
            "MAGICAPTURE_FACE_ENGINE."
        )
    if name == "insightface":
        return _insightface(pack)
    if name == "auto" and not settings().private and pack_folder(pack):
        try:
            return _insightface(pack)
        except EngineUnavailableError as error:
            logger.warning("%s Using the built-in engine.", error)
    return _builtin()


@lru_cache(maxsize=1)
def _builtin() -> FaceEngine:
    return BuiltinEngine()


@lru_cache(maxsize=2)
def _insightface(pack: str) -> FaceEngine:
    folder = pack_folder(pack)
    try:
        if folder is None:
            require_download(pack)
        return InsightFaceEngine(str(folder or pack))
    except Exception as error:  # insightface raises plain exceptions of many kinds: network, zip, onnx, assertions
        raise EngineUnavailableError(
            f"insightface's pack “{pack}” could not be loaded ({type(error).__name__}). "
            "Check the connection or the folder, or choose the built-in engine."
        ) from error


def engine_here() -> str:
    """Name the engine that is loaded here as ``load_engine`` takes it: what computes elsewhere loads the same one."""
    return load_engine().name.partition(" ")[0]  # without the pack's name
