"""What visitors send in, photos and zipped adapters: bounded and checked before anything else touches it."""

import re
import zlib
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from PIL import Image

from magicapture.adapters.adapter import TARGETS_FILE, Adapter
from magicapture.adapters.info import INFO_FILE, AdapterError, AdapterInfo
from magicapture.bases import SPECS, BaseSpec, resolve_base
from magicapture.bases.base import FOR_OTHER_TOOLS, LORA_FILE, ROWS_FILE
from magicapture.messages import Message
from magicapture.photos.reading import PhotoError, read_layers
from magicapture.photos.references import MAX_PHOTOS
from magicapture.server.workspace.folder import VisitorFolder, WorkspaceError
from magicapture.server.workspace.subject import OPAQUE, SubjectNotes

MAX_PHOTO_BYTES = 30 * 2**20
STORED_SIDE = 2048
"""Photos are kept with at most this many pixels on the long side: a face still has more than training takes."""
QUALITY = 95
"""Of photos that are stored as JPEG."""
ADAPTER_FILES = (INFO_FILE, LORA_FILE, ROWS_FILE, TARGETS_FILE, "README.md", *FOR_OTHER_TOOLS)
MAX_ADAPTER_BYTES = 256 * 2**20
"""Unpacked: the largest rank on Stable Diffusion takes half of it."""
MAX_PACKING, MAX_TEXT_PACKING = 10, 100
"""How many times smaller weights and texts may be packed; weights hardly get smaller, and zeros a thousand times."""
MAX_BESIDE_LORA = 8 * 2**20
"""Bytes of the words, the targets, and 20 photos as latents in float16, whatever the base."""
MAX_HEADER_BYTES, MAX_TENSORS = 2**20, 4096
"""What a file of tensors may declare: reading it takes memory for each, however small they are."""
MAX_TEXT_BYTES = 2**20
LONG_TEXT = "{entry} in {name} is too large: at most 1 MB is read."
MAX_LINE = 200
LONGEST_STEM = 40


def safe_stem(name: str) -> str:
    """Give the first 40 letters, digits and hyphens of ``name``, so that it can name a file anywhere."""
    return re.sub(r"[^\w-]+", "_", name)[:LONGEST_STEM].strip("_-") or "unnamed"


def unused_path(folder: Path, name: str, suffix: str) -> Path:
    """Give a path in ``folder`` where nothing lies yet, with a safe version of ``name``."""
    suffix = suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", suffix) else ""
    stem = safe_stem(name)
    paths = (folder / f"{stem}{'' if number == 1 else f'-{number}'}{suffix}" for number in count(1))
    return next(path for path in paths if not path.exists())


def check_uploads(place: VisitorFolder, paths: list[Path]) -> None:
    """Raise ``WorkspaceError`` if ``paths`` are too many, one is too large or not theirs, or the disk is full."""
    if len(paths) > MAX_PHOTOS:
        many = "These are {n} photos; use at most {m}, the best ones."
        raise WorkspaceError(Message(many, n=len(paths), m=MAX_PHOTOS))
    for path in paths:
        place.check_access(path)
        if path.stat().st_size > MAX_PHOTO_BYTES:
            large = "{name} has more than {n} MB: use a smaller copy."
            raise WorkspaceError(Message(large, name=path.name, n=MAX_PHOTO_BYTES // 2**20))
    place.require_space(sum(path.stat().st_size for path in paths if not path.is_relative_to(place.folder)))


def take_in(place: VisitorFolder, source: Path, folder: Path) -> Path:
    """Store a photo in ``folder`` without metadata, and as it is if it cannot be read; gives its path.

    Its alpha channel, if it has one, is stored as its mask.
    """
    try:
        picture, mask, suffix = bare_photo(source)
    except PhotoError as error:
        if not place.is_upload(source):
            raise WorkspaceError(Message("{name}: {reason}", name=source.name, reason=str(error))) from error
        return source.rename(unused_path(folder, source.stem, source.suffix))
    target = unused_path(folder, source.stem, suffix)
    with place.building(target) as file:
        picture.save(file, quality=QUALITY)
    if mask is not None:
        SubjectNotes(place).store_mask(target, mask)
    return target


def bare_photo(source: Path) -> tuple[Image.Image, Image.Image | None, str]:
    """Read a photo, upright and at most 2048 pixels a side, with nothing but its pixels.

    Gives with it what is not transparent in it, in mode L, unless that is all; and the suffix to save it by. Raises
    ``PhotoError`` as ``read_photo`` does.
    """
    picture, alpha, _ = read_layers(source)
    mask = None if alpha is None or alpha.getextrema()[0] == OPAQUE else alpha
    picture.thumbnail((STORED_SIDE, STORED_SIDE), Image.Resampling.LANCZOS)
    picture.info.clear()  # Pillow writes comments and profiles that it finds here into the next file
    with Image.open(source) as header:
        return picture, mask, ".png" if header.format == "PNG" else ".jpg"


def unpack_adapter(place: VisitorFolder, package: Path, folder: Path) -> Adapter:
    """Unpack a zip of unknown origin into the empty ``folder``, which lies in ``place``, and read the adapter in it.

    Raises ``AdapterError`` if it is no zip, holds anything but an adapter's files, is larger than 256 MB, or is an
    adapter that cannot be used here; ``WorkspaceError`` if there is no space to unpack it.
    """
    try:
        with ZipFile(package) as archive:
            entries = archive.infolist()
            _check_entries(package.name, entries)
            place.require_space(sum(entry.file_size for entry in entries))
            archive.extractall(folder)
    except WorkspaceError:
        raise
    except (BadZipFile, zlib.error, EOFError, ValueError) as error:
        unreadable = "{name} is not a zip file that can be read: download or pack it again."
        raise AdapterError(Message(unreadable, name=package.name)) from error
    return read_foreign(folder)


def read_foreign(folder: Path) -> Adapter:
    """Read an adapter of unknown origin. Raises ``AdapterError`` also for what only a forged one would claim."""
    for file in sorted(folder.glob("*.safetensors")):
        check_tensors(file)
    if (folder / INFO_FILE).is_file():
        if (folder / INFO_FILE).stat().st_size > MAX_TEXT_BYTES:
            raise AdapterError(Message(LONG_TEXT, entry=INFO_FILE, name=folder.name))
        info = AdapterInfo.read(folder)
        _require_size(info, folder, _known_base(info))
    return Adapter.load(folder)


def _known_base(info: AdapterInfo) -> BaseSpec:
    """Give the base of an adapter of unknown origin.

    Raises ``AdapterError`` for one that a stranger chose: it would be downloaded, run, and named on the card.
    """
    here = resolve_base()
    spec = {**SPECS, here.name: here}.get(info.base)
    if spec is not None and spec.embedded not in (None, info.base_source):
        return spec  # an earlier one: ``Adapter.load`` refuses it and says what to do
    if spec is None or (info.base_source, info.licence) != (spec.public_source, spec.licence):
        named = f"{info.base} ({info.base_source}, {info.licence})"
        raise AdapterError(Message("It was trained on a base that is not known here: {base}.", base=named))
    return spec


def _require_size(info: AdapterInfo, folder: Path, spec: BaseSpec) -> None:
    """Raise ``AdapterError`` if what is kept of ``folder`` takes more bytes than a LoRA of its rank on its base."""
    files = (folder / name for name in (LORA_FILE, ROWS_FILE, TARGETS_FILE))
    if sum(file.stat().st_size for file in files if file.is_file()) > info.rank * spec.lora_bytes + MAX_BESIDE_LORA:
        large = "The adapter in {name} is larger than one of rank {n} for the base {base} can be: use one trained here."
        raise AdapterError(Message(large, name=folder.name, n=info.rank, base=spec.name))


def check_tensors(file: Path) -> None:
    """Raise ``AdapterError`` if a file of tensors declares more than an adapter has, before any of it is loaded.

    The format: https://huggingface.co/docs/safetensors
    """
    with file.open("rb") as content:
        size = int.from_bytes(content.read(8), "little")
        header = content.read(size) if size <= MAX_HEADER_BYTES else b""
    # Each tensor's entry names its type once; a name or note that says so too only counts for more.
    if not header or header.count(b'"dtype"') > MAX_TENSORS:
        large = "{entry} is damaged, or declares more tensors than an adapter has: use one that was trained here."
        raise AdapterError(Message(large, entry=file.name))


def write_zip(files: Sequence[Path], target: Path) -> Path:
    """Pack ``files`` side by side into ``target``; gives it."""
    with ZipFile(target, "w", ZIP_STORED) as archive:  # pictures and weights do not get smaller
        for file in files:
            archive.write(file, file.name)
    return target


def _check_entries(name: str, entries: list[ZipInfo]) -> None:
    for entry in entries:
        if entry.filename not in ADAPTER_FILES:
            hint = "{name} holds {entry}; an adapter's zip holds only {files}, without a folder around them."
            held = repr(entry.filename[:MAX_LINE])
            raise AdapterError(Message(hint, name=name, entry=held, files=", ".join(ADAPTER_FILES)))
        if entry.flag_bits & 1 or entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            unusual = "{name} is encrypted or packed in an unusual way: pack it as an ordinary zip."
            raise AdapterError(Message(unusual, name=name))
        is_text = not entry.filename.endswith(".safetensors")
        if is_text and entry.file_size > MAX_TEXT_BYTES:
            raise AdapterError(Message(LONG_TEXT, entry=entry.filename, name=name))
        most = MAX_TEXT_PACKING if is_text else MAX_PACKING
        if entry.file_size > most * max(entry.compress_size, 1024):
            bomb = "{entry} in {name} unpacks to far more than a file of an adapter: pack it again."
            raise AdapterError(Message(bomb, entry=entry.filename, name=name))
    # zipfile never unpacks more of an entry than the size it declares
    if sum(entry.file_size for entry in entries) > MAX_ADAPTER_BYTES or len(entries) > len(ADAPTER_FILES):
        large = "{name} is too large: at most {n} MB are unpacked, and each file once."
        raise AdapterError(Message(large, name=name, n=MAX_ADAPTER_BYTES // 2**20))
