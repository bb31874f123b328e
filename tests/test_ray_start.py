"""A private Ray that does not come up in the 30 s that Ray allows: a busy machine is no reason to end."""

import contextlib
import os
import re
import subprocess
import sys
import time

import psutil
import pytest

from tests import warm

pytest.importorskip("ray", reason="needs Ray")
pytestmark = pytest.mark.cluster

CODE = """
import sys
sys.executable = sys.argv[1]  # with which Ray starts its processes
from ragdist.launch.on_ray import environment as rayenv
rayenv.prepare(120)
from ragdist.launch.on_ray import cluster
cluster.connect()
print("usable:", [node.usable for node in cluster.nodes()])
"""


def test_a_second_start_is_tried(tmp_path):
    """The first raylet is frozen as soon as it is there."""
    environment = os.environ | warm.SETTINGS
    environment.pop("RAY_ADDRESS", None)
    process = subprocess.Popen([sys.executable, "-c", CODE, warm.python()], cwd=tmp_path, env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    frozen = None
    while frozen is None:
        assert process.poll() is None, process.communicate()
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                if re.search(r"/raylet$", (child.cmdline() or [""])[0]):
                    child.suspend()
                    frozen = child
        time.sleep(0.02)
    said, _ = process.communicate(timeout=500)
    assert "usable: [True]" in said
    assert process.returncode == 0, said
    assert not psutil.wait_procs([frozen], timeout=60)[1], "what was there of the first outlives the command"
