"""Processes that work side by side: results, failures, deaths, and that nobody is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from seakeep.runtime.workers import TaskFailed, WorkerDied, each

DEADLINE_S = 30
ROOT = Path(__file__).resolve().parents[2]


def add(shared, task):
    return shared + task


def name_of_process(shared, task):
    time.sleep(0.2)
    return os.getpid()


def fail_at_two(shared, task):
    if task == 2:
        raise ValueError("two is too many")
    return task


def die_at_two(shared, task):
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def sleep_long(shared, task):
    Path(shared, str(os.getpid())).touch()
    time.sleep(600)


def test_every_task_has_its_result():
    assert sorted(each(add, 10, [1, 2, 3, 4, 5], 2)) == [(n, 10 + n) for n in range(1, 6)]
    assert list(each(add, 10, [], 2)) == []


def test_there_are_no_more_workers_than_jobs_or_tasks():
    assert len({pid for _, pid in each(name_of_process, None, list(range(6)), 2)}) == 2
    assert len({pid for _, pid in each(name_of_process, None, [1], 8)}) == 1


def test_a_task_that_fails_is_named_with_the_place():
    with pytest.raises(TaskFailed, match="ValueError: two is too many") as found:
        list(each(fail_at_two, None, [1, 2], 1))
    assert found.value.task == 2
    assert "fail_at_two" in found.value.trace


def test_a_worker_that_dies_is_noticed_with_its_task():
    with pytest.raises(WorkerDied) as found:
        list(each(die_at_two, None, [1, 2, 3], 1))
    assert (found.value.task, found.value.exit_code) == (2, -signal.SIGKILL)


def test_no_worker_outlives_an_iterator_that_is_left():
    workers = []
    for _, pid in each(name_of_process, None, list(range(100)), 2):
        workers.append(pid)
        break
    _gone(workers)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_the_command(tmp_path, number):
    script = (
        "import sys\n"
        "from tests.runtime.test_workers import sleep_long\n"
        "from seakeep.runtime.workers import each\n"
        "if __name__ == '__main__':\n"
        "    list(each(sleep_long, sys.argv[1], [1, 2], 2))\n"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        stderr=subprocess.DEVNULL,
    )
    try:
        started = time.monotonic()
        while len(list(tmp_path.iterdir())) < 2:
            assert time.monotonic() - started < DEADLINE_S
            time.sleep(0.05)
        command.send_signal(number)
        assert command.wait(DEADLINE_S) != 0
    finally:
        command.kill()
    _gone([int(path.name) for path in tmp_path.iterdir()])


def _gone(pids):
    started = time.monotonic()
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() - started < DEADLINE_S
        time.sleep(0.05)
