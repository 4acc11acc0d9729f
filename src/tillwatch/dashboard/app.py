"""The application: the views, the stream of news and the assets, behind the guard."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Scope

from tillwatch.config import masked
from tillwatch.dashboard import backtests, detections, merchants, now, quality
from tillwatch.dashboard.access import Access, Guard
from tillwatch.dashboard.live import Streams
from tillwatch.dashboard.site import Site
from tillwatch.errors import TillwatchError

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOR_EVER = "public, max-age=31536000, immutable"
"""An asset's address is another one when its content is."""


def create_app(site: Site, access: Access, streams: Streams) -> ASGIApp:
    """The pages of a pipeline. `site.watch` is to be started by who serves them, `streams` to be closed."""
    routes: Sequence[BaseRoute] = [
        Route("/live", streams.endpoint),
        Route("/assets/{name:path}", _asset),
        *now.routes(site),
        *detections.routes(site),
        *merchants.routes(site),
        *quality.routes(site),
        *backtests.routes(site),
    ]

    def refused(scope: Scope) -> Response:
        asks = bool(access.token)
        return HTMLResponse(site.text("refused.html", asks=asks, header=access.header), 401 if asks else 403)

    def failed(request: Request, error: Exception) -> Response:
        text = masked(str(error))
        return site.page(request, "problem.html", status=503, title="This cannot be shown now", text=text)

    def missing(request: Request, error: Exception) -> Response:
        code = error.status_code if isinstance(error, HTTPException) else 404
        text = error.detail if isinstance(error, HTTPException) else ""
        return site.page(
            request,
            "problem.html",
            status=code,
            title="This cannot be shown" if code == 400 else "There is no such page",
            text=text,
        )

    def defect(request: Request, error: Exception) -> Response:
        text = "This is a defect of tillwatch; what went wrong is said where the dashboard was started."
        return site.page(request, "problem.html", status=500, title="This cannot be shown", text=text)

    handlers = {TillwatchError: failed, HTTPException: missing, Exception: defect}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), access, refused)


def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    known = _TYPES.get(name[name.rfind(".") :])
    place = resources.files("tillwatch.dashboard") / "assets"
    if known is None or ".." in name.split("/") or not (place / name).is_file():
        raise HTTPException(404)
    return Response((place / name).read_bytes(), headers={"cache-control": FOR_EVER, "content-type": known})
