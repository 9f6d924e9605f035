"""Whether visitors' work is computed here, or on the Ray cluster that ``MAGICAPTURE_ENGINE`` names."""

from types import ModuleType

from magicapture.settings import settings


class ClusterError(ValueError):
    """A cluster that cannot be had; the text says why and what to do."""


def cluster() -> ModuleType | None:
    """Give ``engine``'s functions as the cluster runs them; None where this machine computes.

    Raises ``ClusterError`` without Ray.
    """
    if settings().engine == "local":
        return None
    try:
        from magicapture.server import remote  # noqa: PLC0415  Ray is an extra
    except ImportError as error:
        raise ClusterError(
            f"MAGICAPTURE_ENGINE={settings().engine}: Ray is not installed: pip install -r requirements-ray.txt"
        ) from error
    return remote
