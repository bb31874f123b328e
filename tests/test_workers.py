"""A pool of processes: results in order, a bounded number of jobs at hand, one line where a process is killed."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from ragdist.data.parallel import Workers
from ragdist.tools.errors import UserError

pytestmark = pytest.mark.usefixtures("warm_processes")


def slow_at_first(job: int, advance) -> tuple[int, int]:
    """The square of a number, the first of which takes longest."""
    time.sleep(0.5 if job == 0 else 0)
    for _ in range(job):
        advance(1)
    return job, job**2


def fails(job: int, advance) -> int:
    if job == 3:
        time.sleep(0.5)
    if job >= 3:
        raise UserError(f"job {job} is wrong")
    return job


def crashes(job: int, advance) -> int:
    if job == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(0.05)
    return job


def dies(job: int, advance) -> int:
    advance(1)
    if job == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def leaves_a_mark(job: tuple[Path, int], advance) -> None:
    folder, number = job
    (folder / f"{number}-begun").touch()
    if number == 0:
        raise UserError("the first is wrong")
    time.sleep(60)
    (folder / f"{number}-ended").touch()


def pool(work, processes: int, advance=lambda count: None) -> Workers:
    return Workers(work, processes, advance, torch=False)


@pytest.mark.parametrize("processes", [1, 3])
def test_results_are_in_order_and_all_progress_is_told(processes):
    told = []
    with pool(slow_at_first, processes, told.append) as workers:
        assert list(workers.in_order(range(9))) == [(n, n**2) for n in range(9)]
    assert sum(told) == sum(range(9))
    assert not multiprocessing.active_children()


def waits_for_the_second(job: tuple[Path, int], advance) -> None:
    folder, number = job
    (folder / str(number)).touch()
    end = time.monotonic() + 60
    while number == 0 and not (folder / "1").exists() and time.monotonic() < end:
        time.sleep(0.01)


class Growing:
    """Takes from a list to which others add meanwhile."""

    def __init__(self, jobs: list):
        self.jobs = jobs

    def __iter__(self):
        return self

    def __next__(self):
        if not self.jobs:
            raise StopIteration
        return self.jobs.pop(0)


def test_results_come_as_they_are_done_and_make_further_jobs_possible(tmp_path):
    jobs, names = [(n, (tmp_path, n)) for n in range(4)], []
    with pool(waits_for_the_second, 2) as workers:
        for name, _ in workers.run(Growing(jobs)):
            names.append(name)
            if name < 4:
                jobs.append((name + 10, (tmp_path, name + 10)))
    assert sorted(names) == [0, 1, 2, 3, 10, 11, 12, 13]
    assert {int(path.name) for path in tmp_path.iterdir()} == set(names)


def test_no_more_jobs_are_at_hand_than_two_for_each_process():
    taken = []

    def jobs():
        for number in range(20):
            taken.append(number)
            yield number, number

    with pool(slow_at_first, 2) as workers:
        for done, _ in enumerate(workers.run(jobs())):
            assert len(taken) <= done + 1 + 2 * 2 + 1
    assert len(taken) == 20


@pytest.mark.parametrize("processes", [1, 3])
def test_of_several_errors_the_first_in_order_is_told(processes):
    found = []
    with pytest.raises(UserError, match="job 3 is wrong"), pool(fails, processes) as workers:
        found.extend(workers.in_order(range(9)))
    assert found == [0, 1, 2]
    assert not multiprocessing.active_children()


def test_a_killed_process_is_one_line():
    with pytest.raises(UserError, match=r"^a working process was killed.*fewer --processes$"), pool(dies, 2) as workers:
        list(workers.in_order(range(100)))
    assert not multiprocessing.active_children()


def test_a_process_that_crashes_is_one_line_that_says_so():
    with pytest.raises(UserError, match=r"^a working process was ended by SIGSEGV"), pool(crashes, 2) as workers:
        list(workers.in_order(range(100)))
    assert not multiprocessing.active_children()


def test_after_an_error_the_other_jobs_end_at_once(tmp_path):
    with pytest.raises(UserError, match="the first is wrong"), pool(leaves_a_mark, 2) as workers:
        list(workers.run((number, (tmp_path, number)) for number in range(4)))
    assert not multiprocessing.active_children()
    assert not list(tmp_path.glob("*-ended"))
