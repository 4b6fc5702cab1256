"""Processes that each do one task after the other, on as many cores as there are.

Unlike the pools of the standard library: which task a worker was at is known when it dies, Ctrl-C
ends all of them at once (one that is deep in compiled code would not notice), and none outlives
the parent, however that ends.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from types import ModuleType
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Work = Callable[[Any, Any], Any]
"""(what all tasks share, a task) -> its result. A function of a module, not of a script, so that it
is found again in the workers."""


class WorkerDied(Exception):
    """A worker ended in the middle of a task."""

    def __init__(self, task: Any, exit_code: int | None) -> None:
        super().__init__(f"exit code {exit_code}")
        self.task = task
        self.exit_code = exit_code


class TaskFailed(Exception):
    """A task raised an exception; `trace` is where, as the worker saw it."""

    def __init__(self, task: Any, error: BaseException, trace: str) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.task = task
        self.error = error
        self.trace = trace


@dataclass(slots=True)
class _Worker(Generic[Task]):
    process: BaseProcess
    connection: Connection
    task: Task | None = field(default=None)


def each(
    work: Work,
    shared: Any,
    tasks: Sequence[Task],
    jobs: int,
    preload: Sequence[str] = (),
    begun: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Task, Any]]:
    """(task, result) of every task, as they end. Raises WorkerDied and TaskFailed. When the
    iterator is closed, or an exception passes through it, the workers are killed.

    `preload`: modules that are imported once, for all workers. `begun` is called when that is done
    and every worker is at a task."""
    waiting = list(reversed(tasks))
    with _started(work, shared, min(jobs, len(tasks)), preload) as workers:
        for worker in workers:
            _hand(worker, waiting)
        begun()
        while any(worker.task is not None for worker in workers):
            busy = {worker.connection: worker for worker in workers if worker.task is not None}
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                task, worker.task = worker.task, None
                result = _received(worker, task)
                _hand(worker, waiting)
                yield task, result  # type: ignore[misc]


def _hand(worker: _Worker[Task], waiting: list[Task]) -> None:
    if waiting:
        worker.task = waiting.pop()
        worker.connection.send(worker.task)


def _received(worker: _Worker[Any], task: Any) -> Any:
    try:
        result, error, trace = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join(5)
        raise WorkerDied(task, worker.process.exitcode) from None
    if error is not None:
        raise TaskFailed(task, error, trace)
    return result


@contextmanager
def _started(
    work: Work, shared: Any, number: int, preload: Sequence[str]
) -> Iterator[list[_Worker[Any]]]:
    context = _context(preload)
    workers: list[_Worker[Any]] = []
    try:
        for _ in range(number):
            mine, its = context.Pipe()
            process = context.Process(target=_serve, args=(its, work, shared), daemon=True)  # type: ignore[attr-defined]
            with _main_hidden():
                process.start()
            its.close()
            workers.append(_Worker(process=process, connection=mine))
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()
            worker.connection.close()


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Workers do not run the program's main module once more, as those of the standard library do:
    there is nothing in it that they need."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _context(preload: Sequence[str]) -> BaseContext:
    """A server that forks workers, which then have all modules already; where there is none
    (Windows), workers that begin from nothing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    # Ctrl-C is the parent's. The server inherits the mask, and the workers theirs from it, so that
    # none of them is hit while it is still importing. The tracker, which both need, comes first:
    # starting it unblocks the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _serve(connection: Connection, work: Work, shared: Any) -> None:
    """The life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where there is no server to inherit from
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        try:
            task = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            answer = ForkingPickler.dumps((work(shared, task), None, ""))
        except Exception as error:
            answer = _failed(error, traceback.format_exc())
        try:
            connection.send_bytes(answer)
        except (BrokenPipeError, ConnectionResetError):
            return


def _failed(error: Exception, trace: str) -> memoryview:
    """An exception as it is sent; in words where it cannot be sent itself."""
    try:
        answer = ForkingPickler.dumps((None, error, trace))
        pickle.loads(answer)  # noqa: S301  our own
    except Exception:
        return ForkingPickler.dumps((None, RuntimeError(f"{type(error).__name__}: {error}"), trace))
    return answer


def _die_with_parent() -> None:
    """Ends this process when the command has ended, however that came about."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
