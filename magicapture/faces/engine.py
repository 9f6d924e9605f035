"""The person as a subject: what a face engine must be able to do, and what follows from that for every engine."""

import numpy as np
from PIL.Image import Image

from magicapture.faces.critic import FaceCritic
from magicapture.faces.face import Face
from magicapture.faces.likeness import RECOGNISER, likeness_embedding
from magicapture.faces.look import STRANGER, look_for_face, strangers
from magicapture.faces.recogniser import Recogniser
from magicapture.subject import PERSON_NOUN, Problem, Sighting, Subject


class FaceEngine(Subject):
    """Finds faces, tells people apart and outlines faces."""

    noun = PERSON_NOUN
    scored_by = RECOGNISER

    def detect(self, image: Image) -> list[Face]:
        """Give the faces in the RGB picture ``image``, the largest first; an empty list when there is none."""
        raise NotImplementedError

    def face_mask(self, image: Image, face: Face) -> np.ndarray:
        """Give the oval of ``face`` in ``image`` as (H, W) float32, 1 inside and 0 outside: no hair and no neck."""
        raise NotImplementedError

    def recogniser(self) -> Recogniser:
        """Give the network behind the embeddings as a differentiable torch module on the CPU."""
        raise NotImplementedError

    def look(self, name: str, photo: Image, cutout: Image | None, size: int, *, own: bool) -> Sighting:
        """See ``Subject.look``; a person's outline is the engine's own, whatever the alpha channel says."""
        del cutout
        return look_for_face(self, name, photo, size, own=own)

    def strangers(self, embeddings: np.ndarray) -> tuple[np.ndarray, Problem]:
        """See ``Subject.strangers``."""
        return strangers(embeddings), STRANGER

    def embed(self, image: Image, mask: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """See ``Subject.embed``; the same for every engine, and no loss looks at it."""
        del mask
        return likeness_embedding(image, landmarks)

    def find(self, image: Image, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """See ``Subject.find``: the largest face, whoever it is."""
        del wanted
        faces = self.detect(image)
        return (self.face_mask(image, faces[0]), likeness_embedding(image, faces[0].landmarks)) if faces else None

    def critic(self) -> FaceCritic:
        """See ``Subject.critic``."""
        return FaceCritic(self.recogniser())
