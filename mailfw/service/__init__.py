"""The service ``mailfw`` of `twistd` and `twist`: a configuration made into a running server."""

from __future__ import annotations

from twisted.application.service import IService

from mailfw.options import Options
from mailfw.service.crew import Crew
from mailfw.service.server import Server
from mailfw.service.text_log import text_log

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """Return the server; nothing is opened or written before it is started."""
    from twisted.internet import reactor

    return Server(
        options.configuration,
        options.choices,
        reactor,
        embedded=options.source.file is None,
        checkers=options.checkers,
        owner=options.owner,
        is_daemon=options.is_daemon,
        text_log=text_log(options.parent or {}, reactor),
        crew=Crew(options["workers"], options.source.file, options["settings"], options.auth, options.why_alone),
    )
