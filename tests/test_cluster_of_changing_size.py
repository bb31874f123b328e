"""Runs on a real Ray cluster whose hosts die, vanish, come and leave; the time to recover is printed."""

import os
import signal
import time

from tests.driven import (
    NEEDS_A_LAB,
    PATIENCE,
    Driver,
    any_worker,
    continued_from,
    logs,
    new_lab,
    newest,
    options,
    raylet_on,
    wait_for_checkpoint,
    where_workers_are,
    workers_on,
)

pytestmark = NEEDS_A_LAB


def test_a_run_shrinks_and_grows_with_the_cluster_and_outlives_it(digits, tmp_path):
    """A node is killed, one added, one preempted, one cut off and healed, the head dies: never a hang, nothing lost."""
    run = tmp_path / "run"
    with new_lab("old", 3) as lab:
        driver = Driver(lab, tmp_path / "log", *options(digits, run, 5_000_000, "1:3"))
        try:
            driver.wait_for("images  L_G")
            assert "starting 3 workers" in driver.text
            at = wait_for_checkpoint(run, 0)
            lab.kill(lab.nodes[-1])
            seconds = driver.wait_for("training again with 2 workers")
            print(f"SIGKILL of a node: training again on two after {seconds:.1f} s")
            assert continued_from(driver.text)[-1] >= at

            added = lab.add()
            seconds = driver.wait_for(r"room for 3 workers")
            # One node gives back later than the others what its worker held: the run waits for it and grows.
            late = raylet_on(lab, lab.nodes[0])
            os.kill(late, signal.SIGSTOP)
            time.sleep(2)
            os.kill(late, signal.SIGCONT)
            driver.wait_for("continuing from", times=2)
            print(f"a node more: asked to grow after {seconds:.1f} s")
            assert where_workers_are(lab) == dict.fromkeys([*lab.nodes[:2], added], 1), driver.text
            last = wait_for_checkpoint(run, newest(run))

            text = driver.text
            lab.preempt(added)
            try:
                seconds = driver.wait_for("is going to be shut down: writing a checkpoint", 30)
            finally:
                print(f"at the notice to {added}: workers on {where_workers_are(lab)}\n{logs(lab, added)}")
            driver.wait_for("continuing from", times=3)
            print(f"a notice: heard after {seconds:.1f} s")
            assert "workers failed" not in driver.text[len(text) :], "it died instead of leaving"
            assert continued_from(driver.text)[-1] > last
            wait_for_checkpoint(run, newest(run))
            victim = lab.nodes[0]
            lab.cut(victim)
            seconds = driver.wait_for("training again with 1 worker,")
            print(f"a node cut off: training again without it after {seconds:.1f} s")
            at = wait_for_checkpoint(run, newest(run))
            lab.heal(victim)
            wait_for_checkpoint(run, at)
            assert driver.text.count("workers failed") == 2, driver.text
            assert driver.text.count("room for") == 1, "it flaps"
            # The head. Nothing is left but what is on the disk.
            at = newest(run)
            lab.kill("head")
            driver.process.wait(PATIENCE)
        finally:
            driver.stop()

    with new_lab("new", 2) as lab:
        driver = Driver(lab, tmp_path / "new.log", *options(digits, run, 5_000_000, "1", "--collective_timeout=5"))
        driver.wait_for("continuing from")
        assert continued_from(driver.text)[-1] >= at
        wait_for_checkpoint(run, newest(run))

        # The node of the only worker is cut off: no collective stops it from writing beside the new one.
        victim, _ = any_worker(lab)
        lab.cut(victim)
        seconds = driver.wait_for("training again with 1 worker,")
        print(f"the node of the only worker cut off: training again elsewhere after {seconds:.1f} s")
        began = time.monotonic()
        while workers_on(lab, victim):
            assert time.monotonic() - began < 90, "the old worker lives on and may write"
            time.sleep(0.5)
        lab.heal(victim)
        wait_for_checkpoint(run, newest(run))
        driver.process.send_signal(signal.SIGINT)
        assert driver.wait() == 130, driver.text
