"""Reading photos of any origin as 8-bit RGB, or saying in plain words why that is impossible."""

import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageCms, ImageOps

from magicapture.messages import Message, joined
from magicapture.subject import Problem

pillow_heif.register_heif_opener()

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP", "TIFF")
"""What is opened (MPO counts as JPEG); Pillow would hand others (EPS) to outside programs."""
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".gif", ".bmp", ".tif", ".tiff"}
"""What is taken from a folder; a file that is named outright is tried whatever it is called."""
MAX_PHOTOS = 20
"""Of one person, or of a look."""
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
"""Formats in which several frames are an animation. Phones keep several pictures in MPO and HEIF, the photo first."""
MAX_PIXELS = 50_000_000
"""Larger pictures are refused before they are decoded: a few kilobytes may hold so many, of 4 bytes each."""
MAX_JPEG_PIXELS = 110_000_000
"""Of JPEGs that can be decoded at a part of their size, which those of the largest cameras can."""
DECODING = threading.Lock()
"""One picture is decoded at a time, whoever sent it: the largest take half a gigabyte for a moment."""
MAX_ASPECT = 4.0
"""Longer pictures are refused: no photo of a person is so long, and faces in panoramas are small and bent."""
MAX_SIDE = 4096
"""Larger photos are shrunk to this many pixels on the long side: faces keep far more detail than training takes."""
LIGHT = (238, 238, 238)
"""The plain background behind transparent pictures."""


class PhotoError(Exception):
    """A photo cannot be read; ``problem`` says why."""

    def __init__(self, problem: Problem) -> None:
        """Wrap ``problem``; as text the error is its message and advice."""
        super().__init__(joined(" ", problem.message, problem.advice))
        self.problem = problem


def photos_in(folder: Path) -> list[Path]:
    """List the photos in a folder by name, told by their suffixes alone."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)


def read_photo(path: Path) -> tuple[Image.Image, list[str]]:
    """Read a photo as an upright RGB picture of at most 4096 pixels a side, and say what was converted.

    Raises ``PhotoError`` if the file is empty or no picture, is broken off, too large (which is known before its pixels
    are decoded) or far longer than wide. One picture is decoded at a time.
    """
    photo, _, notes = read_layers(path)
    return photo, notes


def read_layers(path: Path) -> tuple[Image.Image, Image.Image | None, list[str]]:
    """Read a photo as ``read_photo`` does, with its alpha channel, a picture in mode L; None if it has none."""
    with DECODING:
        return _read(Path(path))


def _read(path: Path) -> tuple[Image.Image, Image.Image | None, list[str]]:
    image = _open(path)
    _check_size(image)
    try:
        notes = ["Only the first frame of the animation is used."] if _is_animated(image) else []
        image.draft(None, (MAX_SIDE, MAX_SIDE))  # of a JPEG, decode no more than is kept
        image.load()
        upright = _upright(_shrunk(image))
        layers = _to_rgb(upright)
    except Exception as error:  # each decoder has its own: OSError, SyntaxError, ValueError, EOFError, struct.error
        raise _unusable("truncated", "The file is damaged or broken off.", "Copy or export the photo again.") from error
    if upright.mode.startswith(("I", "F")):
        notes.append("The picture has more than 8 bits per pixel and was converted.")
    if upright.has_transparency_data:
        notes.append("The transparent parts were put on a light background.")
    return *layers, notes


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        raise _unusable("missing", "The file is not there any more.", "Upload it again.")
    if path.stat().st_size == 0:
        raise _unusable("empty", "The file is empty.", "Upload the photo again.")
    try:
        return Image.open(path, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(MAX_PIXELS) from error
    except Exception as error:  # a header may hold anything, and what it makes a decoder raise
        advice = "Use a photo saved as JPEG, PNG, WebP or HEIC."
        raise _unusable("not_a_picture", "The file is not a picture that can be read.", advice) from error


def _shrunk(image: Image.Image) -> Image.Image:
    """Give the picture with at most 4096 pixels a side, before anything makes copies of it."""
    if max(image.size) <= MAX_SIDE:
        return image
    if image.mode in ("1", "P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode.startswith("I;"):
        image = image.convert("I")
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF says; what else stands there is dropped if Pillow cannot write it anew."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001  a tag of another type than is usual: struct.error, ValueError
        bare = Image.Exif()
        bare[ExifTags.Base.Orientation] = int(image.getexif().get(ExifTags.Base.Orientation, 1))
        image.info["exif"] = bare.tobytes()
        return ImageOps.exif_transpose(image)


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    in_parts = image.format in ("JPEG", "MPO") and not image.info.get("progressive")
    most = MAX_JPEG_PIXELS if in_parts else MAX_PIXELS
    if width * height > most:
        raise _too_large(most)
    if max(width, height) > MAX_ASPECT * min(width, height):
        message = Message(
            "The picture is {n}×{m} pixels: far longer than a portrait, like a panorama.", n=width, m=height
        )
        raise _unusable("extreme_shape", message, "Cut out the part with the person.")


def _too_large(most: int) -> PhotoError:
    message = Message("The picture has more than {n} megapixels.", n=most // 1_000_000)
    return _unusable("too_large", message, "Save a smaller copy of it; 4000 pixels on the long side are plenty.")


def _unusable(code: str, message: str, advice: str) -> PhotoError:
    return PhotoError(Problem(code, "unusable", message, advice))


def _is_animated(image: Image.Image) -> bool:
    return image.format in ANIMATED and getattr(image, "is_animated", False)


def _to_rgb(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Convert any mode to RGB: deep greys scaled, colours through their profile, transparency on a light ground.

    Gives the alpha channel beside it, if there is one.
    """
    if image.mode.startswith(("I", "F")):
        return _eight_bits(np.asarray(image, dtype=np.float32)), None
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        ground, alpha = Image.new("RGB", image.size, LIGHT), layers.getchannel("A")
        ground.paste(_through_profile(layers.convert("RGB"), image.info), mask=alpha)
        return ground, alpha
    return _through_profile(image if image.mode in ("RGB", "CMYK") else image.convert("RGB"), image.info), None


def _eight_bits(grey: np.ndarray) -> Image.Image:
    """Scale grey values (H, W) from 0–1, 0–255 or 0–65535, whichever they fit into, to 8-bit RGB."""
    top = next((top for top in (1.0, 255.0) if grey.max() <= top), 65535.0)
    return Image.fromarray((grey.clip(0, top) * (255 / top)).round().astype(np.uint8)).convert("RGB")


def _through_profile(image: Image.Image, info: dict) -> Image.Image:
    """Bring RGB or CMYK colours to sRGB by the profile in the file, or by the plain formula without a sound one."""
    if profile := info.get("icc_profile"):
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            if seen := ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"):
                return seen
        except (ImageCms.PyCMSError, OSError):
            pass  # a damaged profile, or one for another colour model (grey): the plain formula will do
    return image.convert("RGB")
