"""Server-sent events: a page hears which of its parts are other ones now, and asks for these."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from tillwatch.dashboard.site import Site

MOST_STREAMS = 500
BEAT_SECONDS = 15.0
"""A comment this often, so that whatever is between knows the connection is alive."""


class Streams:
    """The open streams. They end when the server is asked to, which would wait for them otherwise."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._over = False
        self._wake: set[Callable[[], None]] = set()

    def __len__(self) -> int:
        return len(self._wake)

    def close(self) -> None:
        """Ends all of them."""
        self._over = True
        for wake in list(self._wake):
            wake()

    async def endpoint(self, request: Request) -> Response:
        """A stream of events `parts`: numbers by part, all at first, then after every change."""
        if len(self) >= MOST_STREAMS:
            return PlainTextResponse("too many pages are open\n", 503, {"retry-after": "30"})
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._events(), media_type="text/event-stream", headers=headers)

    async def _events(self) -> AsyncIterator[str]:
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(news.set)

        self._wake.add(wake)
        leave = self._site.watch.hear(wake)
        try:
            yield "retry: 2000\n\n"
            while not self._over:
                news.clear()
                yield f"event: parts\ndata: {json.dumps(self._site.parts)}\n\n"
                while not self._over and not await _within(news, BEAT_SECONDS):
                    yield ": still here\n\n"
        finally:
            leave()
            self._wake.discard(wake)


async def _within(news: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(news.wait(), seconds)
    except TimeoutError:
        return False
    return True
