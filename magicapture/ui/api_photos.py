"""What programs send to be looked at: which subject they mean, and their photos as checked sets."""

from pathlib import Path

from magicapture.messages import Message, joined
from magicapture.photos.references import CheckedSet, Role, check_photos
from magicapture.photos.subjects import load_subject
from magicapture.server.metrics import STAGE
from magicapture.server.workspace import Workspace
from magicapture.subject import PERSON_NOUN, Subject, noun_of
from magicapture.ui.readiness import whose
from magicapture.ui.session import AppContext


def subject_called(context: AppContext, name: str) -> Subject:
    """Give the subject that is called ``name``.

    Raises ``ValueError`` for what is no name of a thing, ``BaseError`` if nothing can be trained on it here.
    """
    noun = noun_of(name)
    context.base.spec.require(noun)
    return context.engine if noun == PERSON_NOUN else load_subject(noun)


@STAGE.labels("check").time()
def checked(context: AppContext, visitor: Workspace, files: list[Path], role: Role, subject: Subject) -> CheckedSet:
    """Make ``files`` the visitor's photos of ``role``, and check them."""
    paths = visitor.ingest(files, role)
    return check_photos(paths, role, subject, context.base.resolution, visitor.subject.masks(role))


def usable(context: AppContext, visitor: Workspace, files: list[Path], role: Role, subject: Subject) -> CheckedSet:
    """Do the same. Raises ``ValueError``, with each photo's verdict, unless they can be used."""
    found = checked(context, visitor, files, role, subject)
    if not found.usable:
        refused = Message("The photos {whose} cannot be used.", whose=whose(role, subject.noun))
        raise ValueError(joined(" ", refused, found.problem, *(verdict.sentence for verdict in found.verdicts)))
    return found
