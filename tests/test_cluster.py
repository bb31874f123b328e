"""Runs on a real Ray cluster of several hosts whose processes die, freeze and are stopped; the time to recover is printed."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from cluster.lab import network
from ragdist.config import settings
from ragdist.launch.on_ray import ray_internals
from tests import plugin, warm
from tests.driven import (
    CHECKOUT,
    NEEDS_A_LAB,
    PATIENCE,
    Driver,
    actors_on,
    any_worker,
    continued_from,
    hide,
    job_log,
    new_lab,
    newest,
    options,
    summary,
    wait_for_checkpoint,
    wait_until_requested,
    workers_on,
)
from tests.ranks import on_ranks
from tests.servers import s3_client, s3_server, serving
from tests.test_world import train

pytestmark = NEEDS_A_LAB


@pytest.fixture(scope="module")
def lab():
    with new_lab("cluster", 3) as lab:
        yield lab


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The 8x8 digits as nine shards."""
    from ragdist.config.shards import ShardOptions
    from ragdist.data.writing.writer import write_shards

    out = tmp_path_factory.mktemp("data") / "digits"
    write_shards("digits", out, ShardOptions(shard_samples=200))
    return out


@pytest.mark.timeout(1200)  # several starts of Ray workers, beside other clusters
def test_killed_frozen_and_abandoned_workers_leave_the_weights_of_an_undisturbed_run(lab, data, tmp_path):
    """SIGKILL to a worker while it starts and while it trains, SIGSTOP to one, SIGKILL to the controller and to the
    driver: same bits. What the driver asked the autoscaler for is not asked for after its end.
    """
    samples = 19_200
    undisturbed, _ = settings.parse(options(data, tmp_path / "whole", samples, "2"), "test")
    said = on_ranks(1, train, undisturbed)[0]  # one process of this machine, without Ray
    assert said["samples"] == samples

    run = tmp_path / "hurt"
    arguments = options(data, run, samples, "2", "--collective_timeout=5")
    driver = Driver(lab, tmp_path / "hurt.log", *arguments)
    try:
        # While the workers start.
        _, worker = any_worker(lab)
        os.kill(worker, signal.SIGKILL)
        wait_until_requested(lab, 2 * [{"CPU": 1}])
        driver.wait_for("workers failed")
        driver.wait_for("images  L_G")

        # While they train.
        at = wait_for_checkpoint(run, newest(run))
        _, worker = any_worker(lab)
        os.kill(worker, signal.SIGKILL)
        seconds = driver.wait_for(r"training again with 2 workers")
        print(f"SIGKILL of a worker: training again after {seconds:.1f} s")
        assert "its process died" in driver.text
        assert continued_from(driver.text)[-1] >= at, "more than one interval was computed again"

        # A worker that does not answer any more.
        wait_for_checkpoint(run, newest(run))
        node, worker = any_worker(lab)
        os.kill(worker, signal.SIGSTOP)
        seconds = driver.wait_for(r"training again with 2 workers", times=2)
        print(f"SIGSTOP of a worker: training again after {seconds:.1f} s, of which 5 s are --collective_timeout")
        assert worker not in lab.pids(node), "the frozen process is still there"

        # Ray Train's own process beside the driver.
        wait_for_checkpoint(run, newest(run))
        (controller,) = actors_on(lab, "head", b"TrainController")
        os.kill(controller, signal.SIGKILL)
        seconds = driver.wait_for(r"training again with 2 workers", times=3)
        print(f"SIGKILL of the controller: training again after {seconds:.1f} s")
        assert "(Ray Train's controller: its process died)" in driver.text

        # The driver.
        wait_for_checkpoint(run, newest(run))
        driver.process.kill()
        driver.process.wait()
        wait_until_requested(lab, [])
        end = time.monotonic() + PATIENCE
        while actors_on(lab, "head", b"Requester"):
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        driver.stop()
    again = Driver(lab, tmp_path / "again.log", *arguments)
    assert again.wait() == 0, again.text
    assert "continuing from" in again.text
    assert summary(run)["weights_sha256"] == said["sha"]
    lines = [json.loads(line)["samples"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines == sorted(set(lines))
    for text in (driver.text, again.text):
        assert "Traceback" not in text
        assert "raylet" not in text, "Ray's noise"


def test_workers_that_do_not_start_are_given_up_on(lab, data, tmp_path):
    """The first worker freezes as it appears."""
    end = time.monotonic() + PATIENCE
    while any(workers_on(lab, node) for node in lab.nodes):  # of the test before
        assert time.monotonic() < end
        time.sleep(0.1)
    driver = Driver(lab, tmp_path / "log", *options(data, tmp_path / "run", 2400, "1", "--start_timeout=20"))
    try:
        driver.wait_for("starting 1 worker")
        _, worker = any_worker(lab)
        os.kill(worker, signal.SIGSTOP)
        driver.wait_for(r"the workers failed \(they did not start within 20 s")
        seconds = driver.wait_for(r"training [\d.]+ s after the start")
        print(f"given up on a worker: training after {seconds:.1f} s more")
        assert driver.wait() == 0, driver.text
    finally:
        driver.stop()
    assert not any(worker in lab.pids(node) for node in lab.nodes), "the frozen process is still there"
    assert summary(tmp_path / "run")["samples"] == 2400
    assert "Traceback" not in driver.text


def test_a_job_is_stopped_submitted_again_and_finishes_with_all_in_an_object_store(lab, data, tmp_path):
    """`ray job submit` from another host than the cluster's; a plugin; shards and run behind an S3 API."""
    gateway = network.gateway(lab.state.subnet)
    with s3_server(gateway) as s3:
        bucket = s3_client(s3)
        for path in data.iterdir():
            bucket.upload_file(str(path), "bucket", f"d/{path.name}")
        arguments = options("s3://bucket/d", "s3://bucket/run", 14_400, "auto", f"--data.cache={tmp_path / 'cache'}",
                            "--monitor.tensorboard=true", "--plugin=my.py", "--objective.pairing=twice")  # fmt: skip
        environment = {"env_vars": s3 | {"RAY_JOB_STOP_WAIT_TIME_S": "30"}}
        client = os.environ | lab.environment()
        code = tmp_path / "code"
        shutil.copytree(CHECKOUT / "ragdist", code / "ragdist")
        plugin.write(code)

        def ray_job(*words: str, **more) -> subprocess.CompletedProcess:
            ray = [warm.python(), "-m", "ray.scripts.scripts", "job", *words]
            return subprocess.run(ray, env=client, capture_output=True, text=True, timeout=2 * PATIENCE, **more)

        def submit(identity: str, *more: str) -> subprocess.CompletedProcess:
            return ray_job("submit", "--submission-id", identity, "--working-dir", str(code), "--runtime-env-json",
                           json.dumps(environment), "--", warm.python(), "-m", "ragdist.train", *arguments, *more)  # fmt: skip

        began = time.monotonic()
        waiting = threading.Thread(target=submit, args=("first",))
        waiting.start()
        time.sleep(3)
        while "images  L_G" not in (log := job_log(lab, "first")):
            assert time.monotonic() - began < PATIENCE, log
            time.sleep(0.5)
        print(f"first update seen {time.monotonic() - began:.1f} s after submitting")
        ray_job("stop", "first")
        waiting.join(PATIENCE)
        log = ray_job("logs", "first").stdout
        assert "the same command continues" in log, log
        second = submit("second")
        assert second.returncode == 0, second.stdout + second.stderr
        assert "continuing from s3://bucket/run" in second.stdout
        assert "14,400 images in" in second.stdout
        assert "pid=" not in second.stdout, f"workers' prefixes:\n{second.stdout}"
        assert "Traceback" not in log + second.stdout
        names = [found["Key"] for found in bucket.list_objects(Bucket="bucket", Prefix="run/")["Contents"]]
        assert "run/summary.json" in names
        assert "run/generator.safetensors" in names
        assert "run/checkpoints/samples-000000014400/manifest.json" in names
        assert any(name.startswith("run/events.out.tfevents") for name in names)
        assert "run/lock" not in names
        wrong = submit("third", "--objective.lam=3")
        assert wrong.returncode == 1
        assert "error: s3://bucket/run holds a run of another configuration" in wrong.stdout


def test_a_folder_that_only_some_nodes_see_is_one_clear_error(lab, data, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    node = lab.nodes[-1]
    hide(lab, node, alone)
    count = sum(name != "head" for name in lab.alive())
    driver = Driver(lab, tmp_path / "log", *options(data, alone / "run", 4800, str(count)))
    assert driver.wait() == 2, driver.text
    assert re.search(r"error: --out: .*\(" + re.escape(lab.address(node)) + r"\) does not see what the driver wrote there; give a path",
                     driver.text), driver.text  # fmt: skip
    assert "Traceback" not in driver.text


def test_a_folder_in_the_working_directory_of_a_job_is_refused_where_there_are_several_nodes(lab, data, tmp_path):
    copy = Path(f"{tmp_path}{ray_internals.WORKING_DIRECTORIES}_ray_pkg_0")
    copy.mkdir(parents=True)
    driver = Driver(lab, copy / "log", *options(data, "runs/a", 4800, "0"))
    assert driver.wait() == 2, driver.text
    assert "error: --out runs/a: in a Ray job that would lie in Ray's temporary copy" in driver.text
    assert "home" not in driver.text
    assert [path.name for path in copy.iterdir()] == ["log"]


def test_each_node_fetches_its_share_of_the_shards(lab, data, tmp_path):
    """Over one epoch, by the web server's log: at most 1/nodes of the data and two shards."""
    gateway = network.gateway(lab.state.subnet)
    cache = tmp_path / "cache"
    cache.mkdir()
    alive = [name for name in lab.alive() if name != "head"]
    for node in alive:
        hide(lab, node, cache)
    (tmp_path / "nginx").mkdir()
    with serving(data, tmp_path / "nginx", host=gateway) as server:
        arguments = options(server.url, tmp_path / "run", 1776, str(len(alive)), f"--data.cache={cache}",
                            "--data.window=32")  # fmt: skip
        driver = Driver(lab, tmp_path / "log", *arguments)
        assert driver.wait() == 0, driver.text
        shares = Counter()
        for client, status, sent, path in server.clients():
            if path.endswith(".tar") and status in (200, 206):
                shares[client] += sent
    sizes = [path.stat().st_size for path in data.glob("*.tar")]
    print({client: f"{share / sum(sizes):.0%}" for client, share in shares.items()})
    assert set(shares) == {lab.address(node) for node in alive}
    assert sum(shares.values()) >= sum(sizes)
    for share in shares.values():
        assert share <= sum(sizes) / len(alive) + 2 * max(sizes)


def test_the_doctor_looks_at_every_node(lab, data, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    node = [name for name in lab.alive() if name != "head"][-1]
    hide(lab, node, hidden)
    arguments = [f"--data={data}", f"--out={hidden}", "--seconds=0.5", "--reduce_mb=4"]
    result = lab.run("head", [warm.python(), "-m", "ragdist.doctor", *arguments], cwd=tmp_path, timeout=PATIENCE)
    print(result.stdout)
    assert result.returncode == 1, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    # Where all hosts share two busy cores a small all-reduce is slow, and that is said, too.
    slow = [line.partition(":")[0] for line in lines if "a small all-reduce takes" in line]
    wrong = {lab.address(node), *slow}
    for name in lab.alive():
        (row,) = [line for line in lines if line.startswith(lab.address(name) + " ")]
        assert row.endswith("WRONG") == (lab.address(name) in wrong)
    assert "all-reduce ms" in result.stdout
    assert (
        f"{lab.address(node)}: --out {hidden}: it does not see what the driver wrote there: give a path"
        in result.stdout
    )
    assert f"{len(wrong)} of {len(lab.alive())} nodes need mending" in result.stdout
