"""The first run a user makes, shortened to one part in 24: all ten digits can be read."""

from benchmarks.digits import shares
from tests.conftest import command


def test_the_default_run_makes_all_ten_digits(tmp_path):
    """With as many threads as it takes by itself on two cores, unlike the runs of other tests."""
    result = command("ragdist.train", "--samples=5000", cwd=tmp_path, timeout=570, OMP_NUM_THREADS="2")
    assert result.returncode == 0, result.stderr
    assert "tensorboard --logdir runs/digits" in result.stdout
    assert "next:         python -m ragdist.generate runs/digits" in result.stdout
    found, accuracy = shares(tmp_path / "runs" / "digits")
    assert accuracy > 0.97
    assert min(found) > 0.7, found
    assert sum(found) / 10 > 0.85, found
