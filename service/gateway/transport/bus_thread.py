"""The bus thread: one thread, one event loop, for everything that touches the master's sockets."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class BusThread:
    """Runs coroutines and callbacks for threads that block. The loop itself never blocks and never calls user code."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="bus", daemon=True)
        self._started = threading.Event()
        self._tasks: set[asyncio.Task[Any]] = set()  # the loop thread's alone
        self._ends: list[Callable[[], None]] = []

    def start(self) -> None:
        """Start the thread and wait until its loop runs."""
        self._thread.start()
        self._started.wait()

    def at_end(self, act: Callable[[], None]) -> None:
        """Let the loop do this when the thread is stopped. Call it before the start."""
        self._ends.append(act)

    def soon(self, act: Callable[..., None], *args: object) -> None:
        """Let the loop do this, which must not block; for what happens at every request, where a coroutine costs too much."""
        self._loop.call_soon_threadsafe(act, *args)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine for the life of the thread; `stop` cancels it."""

        def create() -> None:
            task = self._loop.create_task(coroutine)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._loop.call_soon_threadsafe(create)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the loop; its result or exception arrives in the future."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        """
        Run a coroutine on the loop and wait for it.

        timeout: seconds; a net under the coroutine's own deadline. Raises what the coroutine raises, or TimeoutError.
        """
        future = self.submit(coroutine)
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise TimeoutError from None

    def stop(self, timeout: float = 5.0) -> None:
        """Cancel everything, end the thread and close the loop. timeout: seconds."""
        if not self._thread.is_alive():
            self._loop.close()  # never started, or stopped before
            return
        self._loop.call_soon_threadsafe(self._cancel_all)
        self._thread.join(timeout)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._started.set)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _cancel_all(self) -> None:
        for act in self._ends:
            act()
        # Everything on this loop is ours, also requests in flight whose callers have given up by now.
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.create_task(self._stop_after(tasks))

    async def _stop_after(self, tasks: set[asyncio.Task[Any]]) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)
        # From Python 3.12 on `gather` does not wait a turn for what has ended already; whoever waits for it is told in the next one.
        await asyncio.sleep(0)
        self._loop.stop()
