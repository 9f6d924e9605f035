"""What the page does, for programs: endpoints for ``gradio_client``, which are tools for MCP clients too.

Gradio makes the docstrings the public description of the endpoints; it reads one line per argument.
"""

from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import gradio as gr
from gradio_client import handle_file

from magicapture import scoring
from magicapture.config import GenerateConfig
from magicapture.messages import Message
from magicapture.photos.reading import read_photo
from magicapture.photos.references import Role
from magicapture.server.consent import give_consent
from magicapture.server.drawings import STOPPED
from magicapture.server.gate.queue import BOUNDED
from magicapture.server.gate.visits import VISITS
from magicapture.server.jobs import Job, delete_everything
from magicapture.server.workspace import new_key
from magicapture.subject import PERSON_NOUN
from magicapture.ui import api_responses, drawing_view, portraits, train
from magicapture.ui.api_photos import checked, subject_called, usable
from magicapture.ui.api_refusals import require, require_number, require_text, user_errors
from magicapture.ui.api_uploads import Files, guest, received
from magicapture.ui.session import AppContext, workspace_of

NO_CONSENT = "Nothing is done without consent: pass consent=True if everyone in the photos agreed to it, or it is you."
NO_JOB = "There is no such training: the id is wrong, or it was deleted, or its time was up."
Preset = Literal["quick", "balanced", "paper"]


def connect(context: AppContext) -> None:
    """Add the endpoints; call it while the page is being built."""
    api = Api(context)
    for endpoint in (api.check_photos, api.train, api.score):
        gr.api(endpoint, concurrency_id=f"{BOUNDED}check", concurrency_limit=2)
    gr.api(api.generate, concurrency_id=f"{BOUNDED}draw", concurrency_limit=portraits.DRAWINGS_AT_ONCE)
    for at_once in (api.job_status, api.stop_job, api.stop_drawing, api.delete_everything):
        gr.api(at_once, concurrency_limit=None)


@dataclass(frozen=True, eq=False)
class Api:
    """The endpoints, one method each. All raise ``gr.Error`` in plain words."""

    context: AppContext

    def check_photos(self, photos: Files, role: Role = "person", subject: str = PERSON_NOUN) -> dict:
        """Check photos before a training: one face each, large, sharp and well lit enough? Nothing is kept.

        Pictures in a look may show nobody: that is a warning, no_face.

        Args:
            photos: 1 to 20 photos
            role: person for photos of the person or thing, style for pictures in the look
            subject: person, or a thing's English name such as teapot: on a transparent background, or found by name
        Returns:
            usable (can they be used as a set?), said (of the set)
            photos: name, status (usable, warning or unusable), problems (codes), sentence (what to do) of each
        """
        with user_errors(), received(self.context.settings, photos) as (files,), guest() as visitor:
            found = checked(self.context, visitor, files, role, subject_called(self.context, subject))
        return api_responses.of_check(found)

    def train(
        self,
        person: Files,
        style: Files,
        request: gr.Request,
        preset: Preset = "quick",
        steps: int = 0,
        seed: int = 0,
        consent: bool = False,
        key: str = "",
        subject: str = PERSON_NOUN,
        keep_photos: bool = False,
        profile: gr.OAuthProfile | None = None,
    ) -> dict:
        """Start to train an adapter, which can then draw the person in the look; job_status tells how it goes.

        Args:
            person: 4 to 6 photos of one person or thing
            style: 4 to 6 pictures in one look, of anyone
            preset: quick (minutes), balanced (longer) or paper (long)
            steps: 0 for as many as the preset has
            seed: the same one gives the same adapter
            consent: true if everyone in the photos agreed to it; without it nothing is done
            key: the secret of an earlier answer, to go on as the same visitor; a new one is drawn if it is empty
            subject: person, or a thing's English name such as teapot: on a transparent background, or found by name
            keep_photos: whether small copies stay with the adapter, so that generate can start from them (strength)
        Returns:
            job (the id for job_status and stop_job)
            key (your secret for generate and delete_everything: keep it)
        """
        with user_errors(), received(self.context.settings, person, style) as (of_person, of_style):
            require(consent, NO_CONSENT)
            presets = self.context.base.spec.presets
            require(preset in presets, Message("preset is one of {presets}.", presets=", ".join(presets)))
            require_number("steps", steps, 0, train.MAX_STEPS)
            require_number("seed", seed, 0, train.MAX_SEED)
            kind = subject_called(self.context, subject)
            visitor = workspace_of(key := key or new_key(), request)
            train.require_room(self.context, visitor, request)
            give_consent(self.context.records, visitor, kind.noun)
            try:
                visitor.subject.name(kind.noun)
                people = usable(self.context, visitor, of_person, "person", kind)
                looks = usable(self.context, visitor, of_style, "style", kind)
                base = self.context.base.spec.name
                choice = train.Choice(base, preset, seed, steps, keep_photos=keep_photos is True)
                job = train.start(self.context, visitor, people, looks, choice, request, profile)
            except BaseException:
                visitor.forget_photos()
                raise
        return {"job": job, "key": key}

    def job_status(self, job: str) -> dict:
        """Tell how a training goes.

        Args:
            job: the id that train gave
        Returns:
            state (waiting, running, finished, stopped, failed or interrupted), error
            step, steps, seconds_left, losses (the latest, smoothed)
            ahead (how many come first), expected_wait (in seconds)
            previews: step, likeness and style of each quick portrait
            adapter (the id for generate, once there is one)
        """
        with user_errors():
            return self._status(self._job(job))

    def stop_job(self, job: str) -> dict:
        """Let a training end after its present step, keeping what was learned; one that still waits ends at once.

        Args:
            job: the id that train gave
        Returns:
            what job_status gives
        """
        with user_errors():
            found = self._job(job)
            self.context.jobs.stop(found)
            return self._status(found)

    async def generate(
        self,
        key: str,
        adapter: str,
        request: gr.Request,
        count: int = 4,
        prompt: str = "",
        dial: float = 0.5,
        seed: int = 0,
        upscale: int = 1,
        label: bool = True,
        strength: float = 1.0,
    ) -> tuple[Files, list[dict]]:
        """Draw portraits of the person in the look, the best likeness first.

        Args:
            key: the secret that train gave
            adapter: the id that job_status gave
            count: 1 to 12
            prompt: what to add, such as "with glasses, light background"
            dial: 0 is more like the look, 1 more like the person
            seed: of the first one; the next count up
            upscale: 1, 2 or 4 times the size; what cannot be enlarged comes as it was drawn, and fault says why
            label: whether a corner says that it is AI-generated; the file's metadata does in any case
            strength: 1 draws a new picture; down to 0.4, each starts from a photo that train was to keep
        Returns:
            the pictures as PNG files
            name, seed, likeness (cosine, -1 to 1), style (0: as the photos, 1: as the look's) and fault of each
        """
        with user_errors():
            require_number("count", count, 1, portraits.MAX_COUNT)
            require_number("seed", seed, 0, portraits.MAX_SEED)
            require_number("upscale", upscale, 1, 4)
            require_text("prompt", prompt, portraits.MAX_WORDS)
            config = GenerateConfig(
                count=count, prompt=prompt, dial=dial, strength=strength, seed=seed, upscale=upscale
            )
            visitor = workspace_of(key, request)
            drawing = drawing_view.start_drawing(self.context, visitor, adapter, config, label, request)
            async for _ in drawing_view.watch(drawing):
                pass
            require(drawing.drawn.is_set(), drawing.error or STOPPED)
        facts = api_responses.of_drawing(drawing, upscale)
        return [handle_file(path) for path in facts], list(facts.values())

    def stop_drawing(self, key: str, request: gr.Request) -> str:
        """Let the portraits that a visitor waits for be drawn no more; those that are drawn already stay.

        Args:
            key: the secret that train gave
        """
        with user_errors():
            drawing_view.stop_drawing(self.context, workspace_of(key, request))
        return "Stopped."

    def score(
        self,
        images: Files,
        person: Files,
        style: Files | None = None,
        consent: bool = False,
        subject: str = PERSON_NOUN,
    ) -> dict:
        """Score pictures: how much they are like a person and, if asked, how near to a look. Nothing is kept.

        Args:
            images: 1 to 20 pictures to judge
            person: photos of the person or thing
            style: pictures in the look; without them only the likeness is scored
            consent: true if everyone in the photos agreed to it; without it nothing is done
            subject: person, or a thing's English name such as teapot: on a transparent background, or found by name
        Returns:
            images: name, likeness (cosine, -1 to 1) and style (0: as the photos, 1: as the look's pictures) of each
            mean: likeness and style
        """
        groups = images, person, style or []
        with (
            user_errors(),
            received(self.context.settings, *groups) as (pictures, of_person, of_style),
            guest() as visitor,
        ):
            require(consent, NO_CONSENT)
            require(pictures, "Pass at least one picture to score.")
            kind = subject_called(self.context, subject)
            people = usable(self.context, visitor, of_person, "person", kind).references
            looks = usable(self.context, visitor, of_style, "style", kind).references if of_style else []
            targets = scoring.Targets.of(people, looks or people, kind)
            rows: list[dict] = []
            for path in visitor.ingest(pictures, "style"):  # their bounds are those of photos
                scores = scoring.score(read_photo(path)[0], targets, kind)
                rows.append({"name": path.name, "likeness": scores.likeness, "style": scores.style if looks else None})
        means = {name: fmean(row[name] for row in rows) for name in (("likeness", "style") if looks else ("likeness",))}
        return {"images": rows, "mean": means}

    def delete_everything(self, key: str, request: gr.Request) -> str:
        """Delete all that a visitor has here, at once: trainings, adapters, portraits and records.

        Args:
            key: the secret that train gave
        """
        with user_errors():
            VISITS.discard_uploads(request.request)
            delete_everything(self.context.jobs, self.context.drawings, workspace_of(key, request))
        return "All of it is deleted."

    def _job(self, job_id: str) -> Job:
        if (job := self.context.jobs.get(job_id)) is None:
            raise ValueError(NO_JOB)
        return job

    def _status(self, job: Job) -> dict:
        if (at := job.event or self.context.records.job(job.id)) is None:
            raise ValueError(NO_JOB)
        return api_responses.of_job(job, at.step, at.steps)
