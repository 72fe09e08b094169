"""A connection to NATS for threads: the library's event loop runs in one of its own.

It connects again by itself, for as long as it takes; what is asked of it meanwhile fails after a
time, and may be asked again.
"""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from onetape.connect.nats.settings import Settings
from onetape.records import OperatorError

CALL_S = 6.0
RECONNECT_S = 0.1


class Away(OSError):
    """Nobody answers, which may pass."""


class Overtaken(OSError):
    """Another message came between, perhaps our own that was thought lost: look again."""


class Link:
    """`with Link(settings) as link: link.call(link.js.stream_info("ORDERS"))`.

    OperatorError: the library is not there, or the server refuses who we are. Away: no server.
    """

    def __init__(self, settings: Settings) -> None:
        self._nats = load()
        self.settings, self.last_error = settings, ""
        self._loop = asyncio.new_event_loop()
        self._connecting = asyncio.Lock()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()
        try:
            self._wait(self._connect(), CALL_S)
        except BaseException:
            self._end_loop()
            raise

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def call(self, asked: Coroutine[Any, Any, Any], within_s: float = CALL_S) -> Any:
        """What it gives; Away after so long, OperatorError with what the server said."""
        return self._wait(self._asked(asked), within_s)

    def start(self, asked: Coroutine[Any, Any, Any]) -> Any:
        """Begin, and do not wait: a concurrent.futures.Future."""
        return asyncio.run_coroutine_threadsafe(asked, self._loop)

    async def alive(self) -> None:
        """Connect anew, where the server has closed the connection for good."""
        async with self._connecting:
            if self.client.is_closed:
                await self._connect()

    def problem(self, why: BaseException) -> Exception:
        """The error for a person."""
        errors = self._nats.errors
        said = self.last_error or str(why) or type(why).__name__
        if isinstance(why, OperatorError | Away | Overtaken):
            return why
        if isinstance(why, errors.AuthorizationError) or "uthorization" in said:
            return OperatorError(
                f"NATS at {self.settings.url} refuses who we are; set ONETAPE_NATS_USER and "
                "ONETAPE_NATS_PASSWORD, or ONETAPE_NATS_TOKEN"
            )
        if isinstance(why, errors.MaxPayloadError):
            return OperatorError(
                "a block is larger than the server takes (max_payload); put fewer events into it "
                "(--events), or raise it"
            )
        if isinstance(why, self._nats.js.errors.APIError):
            return OperatorError(f"NATS says: {why.description or why} ({why.err_code})")
        if "certificate" in said.lower() or "ssl" in said.lower():
            return OperatorError(
                f"TLS to {self.settings.url} fails: {said}; is ONETAPE_NATS_CA its authority?"
            )
        return Away(f"no answer from NATS at {self.settings.url}: {said}")

    def close(self) -> None:
        with suppress(OSError, OperatorError):  # it is given up anyhow
            self._wait(self.client.close(), 2.0)
        self._end_loop()

    def _wait(self, asked: Coroutine[Any, Any, Any], within_s: float) -> Any:
        future = asyncio.run_coroutine_threadsafe(asked, self._loop)
        try:
            return future.result(within_s)
        except Exception as why:
            future.cancel()
            raise self.problem(why) from None

    async def _asked(self, asked: Coroutine[Any, Any, Any]) -> Any:
        try:
            await self.alive()
        except BaseException:
            asked.close()
            raise
        return await asked

    async def _connect(self) -> None:
        async def told(why: Exception) -> None:
            self.last_error = str(why) or type(why).__name__

        async def is_back() -> None:
            self.last_error = ""

        self.client = self._nats.aio.client.Client()
        try:
            await asyncio.wait_for(
                self.client.connect(
                    servers=self.settings.servers,
                    name="onetape",
                    error_cb=told,
                    reconnected_cb=is_back,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_S,
                    connect_timeout=2,
                    **self.settings.options,
                ),
                CALL_S / 2,
            )
        except BaseException:
            await self.client.close()
            raise
        self.last_error = ""
        self.js = self.client.jetstream(timeout=CALL_S / 2)

    def _end_loop(self) -> None:
        async def ended() -> None:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        with suppress(TimeoutError):
            self.start(ended()).result(2.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2.0)
        if not self._thread.is_alive():
            self._loop.close()


def load() -> Any:
    """The library, or one line that says how to get it."""
    try:
        import nats
        import nats.aio.client
        import nats.errors
        import nats.js.errors
    except ImportError:
        raise OperatorError(
            "NATS takes the library nats-py; install it: pip install 'onetape[nats]'"
        ) from None
    return nats
