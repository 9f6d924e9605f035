"""The face engine on insightface's models (Deng et al., 2019; Guo et al., 2021): stronger, but for research only."""

from pathlib import Path

import numpy as np
import onnxruntime
import requests
from PIL import Image

from magicapture.faces.builtin import mesh_mask
from magicapture.faces.engine import FaceEngine
from magicapture.faces.face import Face
from magicapture.faces.recogniser import Recogniser, load_recogniser

ROOT = Path("~/.insightface")
"""Where insightface keeps its packs, in a folder ``models``."""
DETECTION_SIDE = 640
"""Side of the square in which SCRFD looks for faces, in pixels."""
MARGIN = 0.3
"""Frame put around the picture, as a share of its long side: SCRFD overlooks faces that fill a picture."""

PATIENCE_S = 5
"""How long the server that has the packs may take to answer, in seconds."""


class InsightFaceEngine(FaceEngine):
    """SCRFD finds, ArcFace recognises; the outline comes from the built-in mesh.

    The pack's own dense landmarks are not used: they end at the eyebrows and are missing in small packs.
    """

    licence = "insightface's pretrained models are for non-commercial research only."

    def __init__(self, pack: str, root: Path = ROOT) -> None:
        """Load ``pack``, a folder or the name of a pack in ``root``, which insightface downloads if it is missing.

        CUDA is used where ONNX Runtime offers it. Raises whatever insightface raises when the pack cannot be had:
        ``load_engine`` says it in plain words.
        """
        from insightface.app import FaceAnalysis  # noqa: PLC0415  it pulls in OpenCV, whose libGL the built-in engine does without

        offered = onnxruntime.get_available_providers()
        providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in offered]
        # One thread, no pool: a session so made goes on working in a forked process (a ZeroGPU worker).
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._analysis = FaceAnalysis(
            name=pack,
            root=str(root),
            allowed_modules=["detection", "recognition"],
            providers=providers,
            sess_options=options,
        )
        self._analysis.prepare(ctx_id=0, det_size=(DETECTION_SIDE, DETECTION_SIDE))
        self._arcface = self._analysis.models["recognition"]
        self.name = f"insightface {Path(pack).name}"

    def detect(self, image: Image.Image) -> list[Face]:
        """Give the faces in the RGB picture ``image``, the largest first."""
        frame = round(max(image.size) * MARGIN)
        pixels = np.pad(np.asarray(image)[..., ::-1], [(frame, frame), (frame, frame), (0, 0)])
        faces = [
            Face(
                box=(found.bbox - frame).astype(np.float32),
                score=float(found.det_score),
                landmarks=(found.kps - frame).astype(np.float32),
                embedding=found.normed_embedding,
            )
            for found in self._analysis.get(pixels)
        ]
        return sorted(faces, key=lambda face: -face.width * face.height)

    def face_mask(self, image: Image.Image, face: Face) -> np.ndarray:
        """Give the oval of ``face`` in ``image``, (H, W) float32 in 0–1."""
        return mesh_mask(image, face)

    def recogniser(self) -> Recogniser:
        """Give the pack's recognition network as a differentiable torch module, with insightface's own scaling."""
        return load_recogniser(Path(self._arcface.model_file), self._arcface.input_mean, self._arcface.input_std)


def pack_folder(pack: str, root: Path = ROOT) -> Path | None:
    """Say where ``pack`` lies on this disk, or None if it would have to be downloaded."""
    for folder in (Path(pack).expanduser(), root.expanduser() / "models" / pack):
        if any(folder.glob("*.onnx")):
            return folder
    return None


def require_download(pack: str) -> None:
    """Ask the server for ``pack`` without fetching it; insightface itself would wait for ever on a dead line.

    Raises ``requests.RequestException`` within seconds if the pack cannot be had.
    """
    from insightface.utils.storage import model_zoo_download_url  # noqa: PLC0415  as above

    answer = requests.head(model_zoo_download_url(f"{pack}.zip"), timeout=PATIENCE_S, allow_redirects=True)
    answer.raise_for_status()
