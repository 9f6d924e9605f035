"""What the tab Train shows of a training, on the page that started it or on another one."""

from copy import copy
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from magicapture.adapters.adapter import AdapterError
from magicapture.messages import joined
from magicapture.photos.references import CheckedSet
from magicapture.server.jobs import Job, Jobs
from magicapture.ui.html import note
from magicapture.ui.live import filmstrip, loss_plot, packed, progress_bar, summary
from magicapture.ui.readiness import what_is_missing

TICK_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class TrainingView:
    """The parts that tell how a training goes, and ``adapter``: the state with the id of the one in use.

    ``seen``: how the training stood when the page last looked, so that only what has changed is sent.
    """

    start: gr.Button
    stop: gr.Button
    resume: gr.Button
    progress: gr.HTML
    losses: gr.HTML
    film: gr.HTML
    done: gr.Column
    result: gr.HTML
    download: gr.DownloadButton
    timer: gr.Timer
    seen: gr.State
    adapter: gr.State

    @property
    def parts(self) -> list[Component]:
        """All that ``show`` may change."""
        return list(vars(self).values())

    def show(
        self,
        jobs: Jobs,
        job_id: str,
        seen: tuple | None,
        person: CheckedSet | None,
        style: CheckedSet | None,
        noun: str,
    ) -> dict[Component, object]:
        """Give what is to be shown of a job as it stands, by the parts that show it; the rest is for the next one."""
        job = copy(jobs.get(job_id)) if job_id else None  # it may end while this looks
        if job is None:
            return self._nothing(what_is_missing(person, style, noun))
        step, pictures = job.event and job.event.step, len(job.previews())
        shown = {
            self.seen: (job_id, job.state, step, pictures),
            self.timer: gr.Timer(active=job.active),
            self.progress: progress_bar(job),
        }
        if seen == shown[self.seen]:
            return shown
        shown[self.losses] = loss_plot(job)
        another = not seen or seen[:2] != (job_id, job.state)
        if not seen or another or seen[3] != pictures:
            shown[self.film] = filmstrip(job)
        missing = what_is_missing(person, style, noun)
        return shown | (self._buttons(job, missing) | self._result(job) if another else {})

    def _nothing(self, missing: str) -> dict[Component, object]:
        """Give what is to be shown where no training is, or none any more: another tab may have deleted everything."""
        told = {self.progress: progress_bar(None), self.losses: loss_plot(None), self.film: filmstrip(None)}
        closed = {self.done: gr.Column(visible=False), self.result: "", self.timer: gr.Timer(active=False)}
        return {self.seen: None} | told | closed | self._buttons(None, missing)

    def _buttons(self, job: Job | None, missing: str) -> dict[Component, object]:
        return {
            self.start: may_start(job, missing),
            self.stop: gr.Button(interactive=job is not None and job.active),
            self.resume: gr.Button(visible=job is not None and job.resumable),
        }

    def _result(self, job: Job) -> dict[Component, object]:
        """Give what came out, and take its adapter into use; nothing if it is gone again."""
        try:
            info = job.workspace.shelf.load(job.adapter).info if job.adapter else None
            archive, why_not = packed(job.workspace.shelf, job.adapter) if job.adapter else (None, "")
        except AdapterError:  # deleted meanwhile
            info = None
        if info is None:
            return {self.done: gr.Column(visible=False), self.result: ""}
        return {
            self.done: gr.Column(visible=True),
            self.result: note(joined(" ", summary(info), why_not), "warn" if why_not else "good"),
            self.download: gr.DownloadButton(value=archive, interactive=archive is not None),
            self.adapter: job.adapter,
        }


def may_start(job: Job | None, missing: str) -> gr.Button:
    """Give the button that starts a training, closed while the visitor's ``job`` runs or something is ``missing``."""
    return gr.Button(interactive=not missing and not (job and job.active))
