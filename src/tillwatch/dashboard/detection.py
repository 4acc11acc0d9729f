"""One detection: why it fired, where its customer stands, how its key came to it."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tillwatch.dashboard.site import Site


def routes(site: Site) -> list[Route]:
    """The page of one detection."""

    def page(request: Request) -> Response:
        seq = request.path_params["seq"]
        with site.pipeline.opened(readonly=True) as state, state.snapshot():
            found = next(state.detections(seq, seq), None)
            if found is None:
                raise HTTPException(404, f"There is no detection {seq}.")
        return site.page(request, "detection.html", "detections", found=found)

    return [Route("/detections/{seq:int}", page)]
