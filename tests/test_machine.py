"""CPUs, memory and processes, as the system tells them."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdist.tools.machine import cgroup_cpus, cpu_count, parse_stat, peak_memory, process_alive, process_started

COUNT = "from ragdist.tools.machine import cpu_count; print(cpu_count())"


def files(root: Path, content: dict[str, str]) -> Path:
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("memberships", "content", "cpus"),
    [
        ("0::/", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/", {}, math.inf),
        ("", {"cpu.max": "150000 100000\n"}, math.inf),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/a/b", {"b/cpu.max": "50000 100000"}, math.inf),
        ("0::/../x", {"cpu.max": "300000 100000", "x/cpu.max": "100000 100000"}, 3),
        ("0::/", {"cpu.max": "rubbish"}, math.inf),
        ("0::/", {"cpu.max": "1 0"}, math.inf),
        (
            "5:memory:/m\n4:cpu,cpuacct:/docker/c\n0::/u",
            {
                "cpu,cpuacct/docker/c/cpu.cfs_quota_us": "400000\n",
                "cpu,cpuacct/docker/c/cpu.cfs_period_us": "100000\n",
                "unified/u/cpu.max": "max 100000",
            },
            4,
        ),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ("9:cpuset:/", {"cpuset/cpu.cfs_quota_us": "1", "cpuset/cpu.cfs_period_us": "1"}, math.inf),
    ],
)
def test_the_quota_of_control_groups(tmp_path, memberships, content, cpus):
    assert cgroup_cpus(memberships, files(tmp_path, content)) == cpus


@given(st.text(), st.text())
def test_any_text_is_a_quota_or_none(tmp_path_factory, memberships, quota):
    root = tmp_path_factory.mktemp("groups")
    (root / "cpu.max").write_text(quota)
    assert cgroup_cpus("0::/" + memberships.replace("\0", ""), root) > 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPU affinity is Linux's")
def test_no_more_cpus_than_this_process_may_run_on():
    pinned = f"import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); {COUNT}"
    assert subprocess.check_output([sys.executable, "-c", pinned], text=True).strip() == "1"
    assert 1 <= cpu_count() <= os.cpu_count()


def test_no_more_cpus_than_the_quota_of_a_real_control_group():
    group = Path("/sys/fs/cgroup/cpu") / f"ragdist-test-{os.getpid()}"
    if not os.access(group.parent / "cpu.cfs_quota_us", os.R_OK) or not os.access(group.parent, os.W_OK):
        pytest.skip("no control groups of version 1 that this user may make")
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one CPU")
    group.mkdir()
    try:
        (group / "cpu.cfs_period_us").write_text("100000")
        for quota, cpus in (("-1", cpu_count()), ("90000", 1), ("110000", 2)):
            (group / "cpu.cfs_quota_us").write_text(quota)
            inside = f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid())); {COUNT}"
            assert subprocess.check_output([sys.executable, "-c", inside], text=True).strip() == str(cpus)
    finally:
        group.rmdir()


def test_whether_a_process_lives():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = process_started(child.pid)
    assert process_alive(child.pid)
    assert process_alive(child.pid, started)
    if started is not None:
        assert not process_alive(child.pid, started - 1), "an earlier process of this number"
    child.stdin.close()
    end = time.monotonic() + 60
    while process_started(child.pid) is not None:
        assert time.monotonic() < end
        time.sleep(0.01)
    if started is not None:
        assert not process_alive(child.pid), "a zombie"
    child.wait()
    assert not process_alive(child.pid)
    assert not process_alive(2**40)
    assert process_alive(1)


@given(st.text(), st.sampled_from("RSDZTX"), st.lists(st.integers(0, 2**63), min_size=20, max_size=40))
def test_a_process_may_have_any_name(name, state, numbers):
    text = f"12 ({name}) {state} {' '.join(map(str, numbers))}"
    assert parse_stat(text) == (state, numbers[18])


@given(st.text())
def test_what_is_no_state_of_a_process(text):
    try:
        parse_stat(text)
    except ValueError:
        return
    assert len(text.split()) >= 20


def test_peak_memory_is_in_bytes():
    code = "from ragdist.tools.machine import peak_memory as p; a = p(); b = bytes([1]) * 300_000_000; print(a, p())"
    before, after = map(int, subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert 280e6 < after - before < 400e6
    assert peak_memory() > 20e6
