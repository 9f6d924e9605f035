"""The folder of a person who reviews their portraits on the page: what they decide there goes into the run at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from magicapture.server.records import Reason
from magicapture.server.workspace import Workspace, WorkspaceError
from magicapture.server.workspace.invitation import Invitation
from magicapture.staff.decisions import KEPT, OPENED, REJECTED
from magicapture.staff.engines import EngineError
from magicapture.staff.forget import forget
from magicapture.staff.invite import cell_of
from magicapture.staff.run_folder import RunFolder

UNREACHABLE = "The folder of this review cannot be reached, so nothing has changed: tell whoever sent you the link."
NOT_YET = (
    "Something of yours lies where it cannot be reached at the moment, so not everything is deleted: try again later, "
    "or tell whoever sent you the link."
)


class ReviewWorkspace(Workspace):
    """A visitor's folder with an invitation."""

    @classmethod
    def if_invited(cls, workspace: Workspace) -> Workspace:
        """Give ``workspace`` as one of a review if it was prepared for one, else as it is."""
        return cls(workspace.place) if Invitation.of(workspace.place) else workspace

    @property
    def invitation(self) -> Invitation:
        """For whom this was prepared. Raises ``WorkspaceError`` when that is over."""
        found = Invitation.of(self.place)
        if found is None:
            raise WorkspaceError("This review is over: what was not kept is deleted here.")
        return found

    def note_opened(self) -> None:
        """Write down that the person has come, once."""
        run, person = RunFolder(self.invitation.run), self.invitation.person
        if not any(line["what"] == OPENED and line.get("person") == person for line in run.log_lines()):
            self._log(OPENED)

    def keep(self, path: Path, min_likeness: float | None) -> Path:
        """Keep a portrait, here and in the run; raises as ``Workspace.keep`` does."""
        with reaching():
            RunFolder.existing(self.invitation.run)
        kept = super().keep(path, min_likeness)
        self._decide(KEPT, kept.name)
        return kept

    def reject(self, path: Path, reason: Reason = "other") -> None:
        """Delete a portrait, here and in the run; raises as ``Workspace.reject`` does."""
        path = self._own_portrait(path)
        self._decide(REJECTED, path.name, reason=reason)
        super().reject(path, reason)

    def delete_everything(self) -> None:
        """Withdraw: delete all of the person, here and in the run."""
        invitation = Invitation.of(self.place)
        if invitation is not None:
            with reaching():
                run = RunFolder.existing(invitation.run)
            try:
                forget(run, invitation.person)
            except (OSError, EngineError) as error:
                raise WorkspaceError(NOT_YET) from error
        super().delete_everything()

    def _decide(self, what: str, name: str, **facts: object) -> None:
        try:
            key, file = cell_of(name)
        except ValueError:  # drawn on the page, besides those of the run
            return
        self._log(what, key=key, file=file, **facts)
        if what == REJECTED:
            (RunFolder(self.invitation.run).cell(key) / file).unlink(missing_ok=True)

    def _log(self, what: str, **facts: object) -> None:
        invitation = self.invitation
        with reaching():
            RunFolder.existing(invitation.run).log(what, invitation.person, **facts)


@contextmanager
def reaching() -> Iterator[None]:
    """Raise ``WorkspaceError`` if the run is elsewhere now, where nothing is to be written, or cannot be written to."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise WorkspaceError(UNREACHABLE) from error
