"""What a run behind a URL uploads: no more than in proportion to what it writes, and nothing over another's."""

import os
from pathlib import Path

import pytest
import torch

from ragdist.config import settings
from ragdist.runs import checkpoint
from ragdist.runs.lease import Lease
from ragdist.runs.mirror import Mirror, RemoteFolder
from ragdist.runs.remote import RemoteRun
from ragdist.tools.errors import UserError
from tests.conftest import TINY


class Counted(RemoteFolder):
    """A store that counts the bytes of each upload."""

    def __init__(self, url: str):
        super().__init__(url)
        self.sent: list[tuple[str, int]] = []

    def put(self, local: Path, name: str) -> None:
        self.sent.append((name, local.stat().st_size))
        super().put(local, name)


def opened(remote: RemoteFolder, local: Path, **more) -> Mirror:
    mirror = Mirror(remote, local, 2, **more)
    mirror.pull()
    return mirror


def save(mirror: Mirror, samples: int) -> None:
    state = {"weights": torch.full((1000,), float(samples))}
    checkpoint.save(mirror.folder.checkpoints, samples, state, {"samples": samples}, keep=2)


def append(path: Path, count: int) -> None:
    with open(path, "ab") as file:
        file.write(os.urandom(count))


def test_what_grows_is_uploaded_in_proportion_to_what_is_written(s3, tmp_path):
    """Whole every time it would be 150 times its size here, and more the longer a run is."""
    remote = Counted("s3://bucket/grows")
    mirror = opened(remote, tmp_path / "run")
    files = [tmp_path / "run" / name for name in ("metrics.jsonl", "events.out.tfevents.1.here.2.0")]
    for _ in range(300):
        for path in files:
            append(path, 10_000)
        mirror._push()
        there = remote.store.list()
        for path in files:
            assert there[path.name] >= path.stat().st_size * 7 / 8 - 20_000, "it is never far behind"
    sent = sum(size for _, size in remote.sent)
    small = 6 * (1 << 16)  # below 64 KiB it always is: six times, until it is that
    assert sent <= 2 * (9 * 3_000_000 + small), f"{sent:,}"
    mirror.finish()
    assert {path.name: remote.store.read(path.name) for path in files} == {
        path.name: path.read_bytes() for path in files
    }


def test_with_a_checkpoint_come_the_figures_up_to_it_before_it_counts(s3, tmp_path):
    remote = Counted("s3://bucket/order")
    mirror, run = opened(remote, tmp_path / "run"), tmp_path / "run"
    append(run / "metrics.jsonl", 200_000)
    append(run / "events.out.tfevents.1.here.2.0", 200_000)
    mirror._push()
    remote.sent.clear()
    for name in ("metrics.jsonl", "events.out.tfevents.1.here.2.0"):
        append(run / name, 1000)
    (run / "wandb.json").write_text('{"id": "x"}')
    (run / "summary.json").write_text("{}")
    save(mirror, 100)
    mirror._push()
    step = "checkpoints/samples-000000000100"
    content = [f"{step}/{name}" for name in ("state.pt", "meta.json", "manifest.json")]
    assert [name for name, _ in remote.sent] == ["metrics.jsonl", "wandb.json", *content, "summary.json"]
    second = opened(RemoteFolder(remote.url), tmp_path / "other")
    for name in ("metrics.jsonl", "wandb.json"):
        assert (tmp_path / "other" / name).read_bytes() == (run / name).read_bytes()
    assert checkpoint.damage(second.folder.checkpoints / "samples-000000000100") is None


def test_what_led_to_an_error_is_there_after_it(s3, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = RemoteRun("s3://bucket/diverged")
    config = settings.parse([*TINY, "--out", place.url], "test")[0]
    for error in (UserError("it diverged"), ZeroDivisionError()):
        with pytest.raises(type(error)), place.opened(config) as folder:  # noqa: PT012 - the error is the run's
            folder.metrics.write_text(repr(error))
            raise error
        assert place.remote.read("metrics.jsonl").decode() == repr(error)
    assert not list(tmp_path.iterdir())


def test_a_process_that_woke_up_late_uploads_nothing_over_another_s(s3, tmp_path):
    """It does not know yet that it was thought dead: no renewal of its lease was due."""
    place = RemoteRun("s3://bucket/late")
    mine = Lease()
    place.remote.write("lock", f"process 1 on here\n{mine.token}\n0\n".encode())
    mirror = opened(place.remote, tmp_path / "run", fence=Lease(place.token, mine.token).check)
    save(mirror, 100)
    mirror._push()
    before = {name: place.remote.read(name) for name in place.remote.list()}

    class Frozen(RemoteFolder):
        def put(self, local: Path, name: str) -> None:
            super().put(local, name)
            if name.endswith("meta.json"):  # another one takes the run over while this one is at it
                self.write("lock", b"process 2 on there\nanother\n0\n")

    mirror.remote = Frozen(place.url)
    save(mirror, 200)
    with pytest.raises(UserError, match="another process took this run over"):
        mirror._push()
    with pytest.raises(UserError, match="another process took this run over"):
        mirror.finish()
    after = {name: place.remote.read(name) for name in place.remote.list()}
    assert after["lock"] == b"process 2 on there\nanother\n0\n"
    assert {name: after[name] for name in before if name != "lock"} == {k: v for k, v in before.items() if k != "lock"}
    assert "checkpoints/samples-000000000200/manifest.json" not in after
