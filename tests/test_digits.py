"""The first run a user makes, shortened: all ten digits can be read."""

from benchmarks.digits import shares
from tests.conftest import command


def test_the_default_run_makes_all_ten_digits(tmp_path):
    result = command("ragdist.train", "--images=40000", cwd=tmp_path, timeout=570)
    assert result.returncode == 0, result.stderr
    assert "tensorboard --logdir runs/digits" in result.stdout
    assert "next:         python -m ragdist.generate runs/digits" in result.stdout
    found, accuracy = shares(tmp_path / "runs" / "digits")
    assert accuracy > 0.97
    assert min(found) > 0.7, found
    assert sum(found) / 10 > 0.85, found
