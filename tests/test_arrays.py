"""Arrays of numbers become shards as they are, and what networks see of them is shifted and scaled by all of them."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ragdist import modalities, shards
from ragdist.config.shards import ShardOptions
from ragdist.data import index as index_file
from ragdist.data.reader import ShardReader
from ragdist.data.shard_files import ShardFiles
from ragdist.data.sources import paths as grid_world
from ragdist.data.writing.writer import write_shards
from ragdist.modalities.array import channels, making, paths, training
from ragdist.modalities.array.options import ArrayOptions
from ragdist.modalities.base import Form


def samples_of(folder):
    """The index, and all samples in the order of writing with their labels."""
    index = index_file.load(folder)
    reader = ShardReader(ShardFiles(folder, index))
    found = [reader.read(shard, i) for shard, about in enumerate(index.shards) for i in range(about.samples)]
    return index, torch.stack([sample for sample, _ in found]), [label for _, label in found]


@pytest.mark.parametrize("shape", [(2, 9), (1, 4), (5,), (1,)])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "f2", "i8", "u1", "?"])
def test_what_is_stored_is_what_was_given(tmp_path, shape, kind):
    rows = (np.random.default_rng(0).normal(size=(40, *shape)) * 50).astype(kind)
    labels = np.arange(40) % 3
    np.savez(tmp_path / "a.npz", tracks=rows, labels=labels)
    write_shards(str(tmp_path / "a.npz"), tmp_path / "out", ShardOptions(modality="array"))
    index, found, names = samples_of(tmp_path / "out")
    assert (index.codec, index.shape, found.dtype) == ("array", shape, torch.float32)
    given = sorted((label, row.tobytes()) for label, row in zip(labels.tolist(), rows.astype("<f4"), strict=True))
    assert given == sorted((name, row.numpy().tobytes()) for name, row in zip(names, found, strict=True))


@pytest.mark.parametrize("how", ["deviation", "range", "none"])
def test_networks_see_channels_scaled_by_all_samples(tmp_path, how):
    rows = np.random.default_rng(1).normal(size=(3000, 3, 5)) * [[1e-3], [1], [0]] + [[1e3], [-5], [7]]
    np.save(tmp_path / "a.npy", rows)
    write_shards(str(tmp_path / "a.npy"), tmp_path / "out", ShardOptions(), {"scaling": how})
    index, found, _ = samples_of(tmp_path / "out")
    seen = training.to_network(found, index.form).double().transpose(0, 1).flatten(1)
    if how == "none":
        assert (index.spec["shift"], index.spec["scale"]) == ([0] * 3, [1] * 3)
        return
    assert index.spec["scale"][2] == 1, "a channel that does not change"
    assert not seen[2].any()
    if how == "deviation":
        assert seen[:2].mean(1).abs().max() < 0.05, "which float32 of 1000 with a deviation of 0.001 allows"
        torch.testing.assert_close(seen[:2].std(1), torch.ones(2).double(), atol=0.02, rtol=0)
    else:
        torch.testing.assert_close(seen[:2].amax(1), torch.ones(2).double(), atol=0.05, rtol=0)
        torch.testing.assert_close(seen[:2].amin(1), -torch.ones(2).double(), atol=0.05, rtol=0)


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 3), st.integers(1, 4)),
                     elements=st.floats(-1e6, 1e6, width=32)), st.sampled_from(["deviation", "range", "none"]))  # fmt: skip
def test_scaling_comes_back(rows, how):
    channels = making.fit(rows, ArrayOptions(how)).channels
    form = Form(rows.shape[1:], {"shift": channels.shift, "scale": channels.scale})
    there = training.to_network(torch.from_numpy(rows), form)
    back = training.from_network(there, form)
    largest = float(np.abs(rows).max()) + max(map(abs, channels.shift))
    assert (back - torch.from_numpy(rows)).abs().max() <= 1e-6 * largest + 1e-30


def test_the_pass_over_all_samples_is_sound_far_from_zero():
    rows = np.random.default_rng(2).integers(0, 2, (5000, 1)).astype(np.float32) + np.float32(2**23)
    channels = making.fit(rows, ArrayOptions()).channels
    assert channels.shift[0] == pytest.approx(rows.astype(np.float64).mean(), abs=1e-6)
    assert channels.scale[0] == pytest.approx(rows.astype(np.float64).std(), rel=1e-9)


def test_the_pass_over_large_samples_holds_few_of_them(monkeypatch):
    monkeypatch.setattr(channels, "_NUMBERS", 64)
    found, rows = channels.Statistics(), np.random.default_rng(0).normal(size=(9, 1, 17)).astype(np.float32)
    for row in rows:
        found.add(row)
        assert len(found._rows) < 3
    assert found.channels("deviation").scale[0] == pytest.approx(rows.astype(np.float64).std(), rel=1e-12)


def test_a_bad_row_is_named_or_left_out(tmp_path, capsys):
    rows = np.ones((6, 2, 4))
    rows[:, 0] = np.arange(6)[:, None]
    rows[3, 1, 2], rows[5, 0, 0] = np.nan, 1e300
    np.save(tmp_path / "a.npy", rows)
    shards.main([str(tmp_path / "a.npy"), str(tmp_path / "out"), "--bad=skip", "--processes=1"])
    said = capsys.readouterr().out
    assert "array 3: it holds numbers that are not finite" in said
    assert "array 5: it holds numbers beyond 3.4e38" in said
    assert "is taken for 2 channels of 4 steps" in said
    index, found, _ = samples_of(tmp_path / "out")
    assert len(found) == 4
    assert index.spec["shift"] == [pytest.approx((0 + 1 + 2 + 4) / 4), 1.0]
    assert index.spec["scale"][1] == 1


def test_walks_keep_to_their_routes():
    about = grid_world.about()
    routes, obstacles = about["routes"], about["obstacles"]
    assert len(routes) >= 50
    assert len({json.dumps(route) for route in routes}) == len(routes)
    walks = grid_world.made(about, 0)
    assert (walks == grid_world.made(about, 0)).all()
    assert not paths.crossing(walks, obstacles).any()
    counts = np.bincount(paths.taken(walks, routes, about["tolerance"], obstacles), minlength=len(routes))
    assert counts.max() == 20 * counts.min()
    assert counts.sum() == len(walks)
    for route, line in zip(routes, paths.lines(routes, 500), strict=True):
        assert not paths.crossing(line[None], obstacles)[0], route
        assert (line[:, 0], line[:, -1]) == (pytest.approx([0, 0]), pytest.approx([10, 8]))


def test_what_crosses_an_obstacle():
    wall = [[1.0, 1.0, 2.0, 2.0]]

    def crosses(*points):
        return bool(paths.crossing(np.array(points, np.float32).T[None], wall)[0])

    assert crosses((0, 0), (3, 3)), "though no point is inside"
    assert crosses((0, 1.5), (1.5, 1.5)), "ending inside"
    assert crosses((1.4, 1.5), (1.6, 1.5)), "wholly inside"
    assert not crosses((0, 0), (0, 3), (3, 3), (3, 0)), "around it"
    assert not crosses((0, 1), (3, 1)), "along its edge"
    assert not crosses((0, 0), (0.9, 1.5)), "short of it"
    assert not crosses((1.5, 0), (1.5, 0)), "a point that stays"


def test_a_path_beside_all_routes_takes_none():
    routes, wall = [[[0, 0], [4, 0]], [[0, 0], [0, 4]]], [[1.0, 1.0, 2.0, 2.0]]
    near = paths.lines(routes, 9)
    assert paths.taken(near, routes, 0.1, wall).tolist() == [0, 1]
    assert paths.taken(near + 0.3, routes, 0.1, wall).tolist() == [paths.NO_ROUTE] * 2
    assert paths.taken(paths.lines([[[0, 0], [4, 4]]], 9), routes, 9.0, wall).tolist() == [paths.NO_ROUTE], "it crosses"


def test_the_source_is_there_without_anything(tmp_path):
    shards.main(["paths", str(tmp_path / "out"), "--processes=1"])
    index, found, _ = samples_of(tmp_path / "out")
    assert (index.codec, index.shape) == ("array", (2, grid_world.STEPS))
    assert index.spec["obstacles"] == grid_world.obstacles()
    assert len(index.spec["routes"]) == len(grid_world.routes())
    assert len(found) == index.samples
    assert modalities.making("array").in_words(index.form) == "2 channels of 64 steps"
