"""What every request passes before the page: who asks, what for, and how much they send along."""

from collections.abc import Callable

from starlette.middleware import Middleware

from magicapture.server.gate.bodies import Bodies
from magicapture.server.gate.files import Files
from magicapture.server.gate.headers import Headers
from magicapture.server.gate.hosts import Hosts
from magicapture.server.gate.review import Review
from magicapture.server.gate.routes import Routes
from magicapture.server.gate.sessions import Sessions
from magicapture.server.gate.sign_in import SignIn
from magicapture.server.gate.uploads import guard_uploads
from magicapture.server.gate.visits import guard_events
from magicapture.settings import Settings

__all__ = ["guard_events", "guard_uploads", "layers"]


def layers(settings: Settings, translate: Callable[[str, str], str]) -> list[Middleware]:
    """List the layers around the server, the outermost first. ``translate``: a message into a language."""
    return [
        Middleware(Headers, settings=settings),
        Middleware(Hosts, settings=settings),
        Middleware(Routes),
        Middleware(SignIn),
        Middleware(Bodies, settings=settings),
        Middleware(Sessions),
        Middleware(Review, settings=settings, translate=translate),
        Middleware(Files, settings=settings),
    ]
