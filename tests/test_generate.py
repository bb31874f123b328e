"""``python -m ragdist.generate``: pictures, folders, animations, from a run or from its one file."""

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ragdist.config.run import NetworkOptions
from ragdist.generate import main as draw
from ragdist.generation import sampling
from ragdist.generation.whole_folder import whole_folder
from ragdist.networks.build import build_generator
from ragdist.tools.errors import UserError
from ragdist.tools.ownership import Owner, process_space
from tests.conftest import TINY, command, refused, refused_here

GENERATE = "ragdist.generate"


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits):
    cwd = tmp_path_factory.mktemp("generate")
    options = [f"--data={digits}", "--out=run", "--samples=640", "--network.labels=true"]
    result = command("ragdist.train", *TINY, *options, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return cwd / "run"


def test_a_grid_is_the_same_every_time_and_from_the_file_alone(run, tmp_path):
    shutil.copy(run / "generator.safetensors", tmp_path / "g.safetensors")
    # Two of one order of sets, which is drawn at a process's start, and one of another.
    for source, out, seed in (
        (run, "a.png", {}),
        (run, "b.png", {"PYTHONHASHSEED": "98"}),
        ("g.safetensors", "c.png", {}),
    ):
        result = command(GENERATE, source, "--n=64", "--seed=0", f"--out={out}", cwd=tmp_path, **seed)
        assert result.returncode == 0, result.stderr
        assert "after 640 images" in result.stdout
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b == c
    assert command(GENERATE, run, "--seed=1", "--out=d.png", cwd=tmp_path).returncode == 0
    assert (tmp_path / "d.png").read_bytes() != a
    assert Image.open(tmp_path / "a.png").size[0] > 8 * 40


def test_a_folder_of_single_images(run, tmp_path):
    assert command(GENERATE, run, "--n=70", "--out=many", cwd=tmp_path).returncode == 0
    assert command(GENERATE, run, "--n=5", "--out=few", cwd=tmp_path).returncode == 0
    names = sorted(path.name for path in (tmp_path / "many").iterdir())
    assert names == [f"{i:06d}.png" for i in range(70)]
    assert Image.open(tmp_path / "many/000003.png").size == (8, 8)
    for i in range(5):  # sample i does not depend on how many are drawn
        many, few = (np.asarray(Image.open(tmp_path / f / f"{i:06d}.png"), int) for f in ("many", "few"))
        assert np.abs(many - few).max() <= 1


def test_a_folder_holds_the_samples_of_one_command(run, tmp_path):
    """A mixture of two drawings would be judged as one."""
    out = tmp_path / "samples"
    draw([str(run), "--n=6", f"--out={out}"])
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert "it holds 6 samples" in refused_here(draw, run, "--n=3", "--seed=1", f"--out={out}")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first

    (tmp_path / f".samples.part-{Owner(process_space(), 2**22 + 1, 1)}").mkdir()  # of a command that was killed
    draw([str(run), "--n=3", "--seed=1", f"--out={out}", "--overwrite"])
    assert sorted(path.name for path in out.iterdir()) == [f"{i:06d}.png" for i in range(3)]
    assert (out / "000000.png").read_bytes() != first["000000.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["samples"]


def test_a_folder_with_other_things_in_it_is_left_alone(run, tmp_path, monkeypatch):
    (tmp_path / "album").mkdir()
    (tmp_path / "album/holiday.png").write_bytes(b"dear")
    (tmp_path / "a.png").mkdir()
    for out in (tmp_path / "album", run):
        assert "other things than samples" in refused_here(draw, run, f"--out={out}", "--overwrite")
    assert (tmp_path / "album/holiday.png").read_bytes() == b"dear"
    assert "it is a folder" in refused_here(draw, run, f"--out={tmp_path / 'a.png'}")
    monkeypatch.chdir(tmp_path / "a.png")
    assert "it is the working directory" in refused_here(draw, run, "--out=.")


def test_a_drawing_that_fails_leaves_nothing_and_one_that_comes_second_takes_nothing(tmp_path):
    def fill(name: str, meanwhile: str) -> None:
        with whole_folder(tmp_path / name, overwrite=False) as folder:
            (folder / "000000.png").write_text(name)
            if not meanwhile:
                raise RuntimeError
            (tmp_path / meanwhile).mkdir()
            (tmp_path / meanwhile / "000000.png").write_text("early")

    with pytest.raises(RuntimeError):
        fill("a", "")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="it holds 1 samples"):
        fill("a", "a")
    assert [path.read_text() for path in tmp_path.rglob("*.png")] == ["early"]
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with whole_folder(tmp_path / "link", overwrite=True) as folder:
        (folder / "000001.png").write_text("new")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["000001.png"]
    assert (tmp_path / "link").is_symlink()


def test_one_class(run, tmp_path):
    for chosen in ("3", "4"):
        assert (
            command(GENERATE, run, "--n=4", f"--class={chosen}", f"--out=c{chosen}.png", cwd=tmp_path).returncode == 0
        )
    assert (tmp_path / "c3.png").read_bytes() != (tmp_path / "c4.png").read_bytes()


def test_an_animation(run, tmp_path):
    result = command(GENERATE, run, "--n=4", "--interpolate", "--points=3", "--frames=4", "--out=a.gif", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    gif = Image.open(tmp_path / "a.gif")
    assert gif.n_frames > 6  # frames that look alike are joined
    assert gif.info["loop"] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "no run and no file"),
        (["{run}", "--class=12"], "no such class"),
        (["{run}", "--class=x"], "no such class"),
        (["{run}", "--out=a.bmp"], "end it in .png"),
        (["{run}", "--interpolate", "--out=a.png"], "name it a.gif"),
        (["{run}", "--interpolate", "--out=."], "go into one file: name one in it"),
        (["{run}", "--n=0"], "at least 1"),
        (["{run}", "--nn=5"], "unknown option --nn"),
        (["{run}", "--seed=-1"], "0 or more"),
        (["broken.safetensors"], "is damaged"),
        (["altered.safetensors"], "is damaged (its weights are not those it names)"),
        (["other.safetensors"], "not a generator"),
        (["empty"], "appears with the run's first checkpoint"),
        (["{run}", "--device=cuda:7"], "--device cuda:7"),
    ],
)
def test_mistakes_get_one_line(run, tmp_path, arguments, says):
    from safetensors.torch import save_file

    (tmp_path / "broken.safetensors").write_bytes((run / "generator.safetensors").read_bytes()[:1000])
    whole = bytearray((run / "generator.safetensors").read_bytes())
    whole[-1] ^= 1
    (tmp_path / "altered.safetensors").write_bytes(whole)
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "empty").mkdir()
    assert says in refused(command(GENERATE, *(a.format(run=run) for a in arguments), cwd=tmp_path))


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 17))
def test_a_sample_does_not_depend_on_the_batches(seed, count, batch):
    generator = build_generator(vars(NetworkOptions(family="mlp", z_dim=4, g_width=8)), (5,), 3)
    whole = torch.cat(list(sampling.sample(generator, seed, count, batch=64)))
    parts = torch.cat(list(sampling.sample(generator, seed, count, batch=batch)))
    assert whole.shape == (count, 5)
    torch.testing.assert_close(whole, parts)


def test_an_animation_ends_where_it_began_and_moves_evenly():
    generator = build_generator(vars(NetworkOptions(family="mlp", z_dim=16, g_width=64)), (50,), 0)
    frames = torch.stack(list(sampling.interpolate(generator, 0, 8, points=4, frames=20)))
    steps = (frames.roll(-1, 0) - frames).norm(dim=2).mean(1)
    assert len(frames) == 80
    assert steps.max() < 3 * steps.median()
