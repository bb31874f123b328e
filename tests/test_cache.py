"""The cache of fetched files, where its folder is not what one would wish."""

import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ragdist.evaluation.feature_set import read_tensors, write_tensors
from ragdist.modalities import classifier
from ragdist.storage.cache import Cache
from ragdist.storage.files import sweep, write_whole
from ragdist.tools.errors import UserError
from ragdist.tools.ownership import Owner, owner_name, parse

CONTENT = b"a shard"
NAME = sha256(CONTENT).hexdigest()


def fetch(into: Path) -> None:
    into.write_bytes(CONTENT)


def opened(folder: Path, fetch=fetch) -> bytes:
    with Cache(folder, 1000).open(NAME, len(CONTENT), fetch, lambda path: None) as file:
        return file.read()


def test_a_folder_that_is_deleted_during_a_fetch_is_made_again(tmp_path):
    fetches = []

    def deleted(into: Path) -> None:
        fetch(into)
        fetches.append(into)
        if len(fetches) == 1:
            shutil.rmtree(tmp_path / "cache")

    assert opened(tmp_path / "cache", deleted) == CONTENT
    assert len(fetches) == 2
    assert opened(tmp_path / "cache", deleted) == CONTENT
    assert len(fetches) == 2


def test_without_a_home_no_folder_is_made_of_its_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such home folder: set HOME"):
        opened(Path("~/.cache/ragdist"))
    assert not list(tmp_path.iterdir())


def test_a_home_that_is_no_folder_is_not_blamed_on_what_reads_from_it(tmp_path):
    (tmp_path / "home").touch()
    with pytest.raises(
        UserError, match=f"cannot write to the cache {tmp_path}/home/.cache: a part of the path is a file"
    ):
        opened(tmp_path / "home" / ".cache")


def test_a_classifier_that_cannot_be_kept_is_used_all_the_same(tmp_path, capsys):
    (tmp_path / "file").touch()
    nowhere = tmp_path / "file" / "evaluation" / "classifier.safetensors"
    classifier._keep(b"content", [nowhere, tmp_path / "cache" / "classifier.safetensors"])
    assert (tmp_path / "cache" / "classifier.safetensors").read_bytes() == b"content"
    assert capsys.readouterr().err == ""
    classifier._keep(b"content", [nowhere])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"the classifier cannot be kept in {nowhere.parent} (Not a directory)")


def test_kept_tensors_of_which_a_bit_has_changed_are_as_none(tmp_path):
    """A figure would be another one, and nothing would say so."""
    path, tensors = (
        tmp_path / "a.safetensors",
        {"features": torch.arange(6.0).view(2, 3), "labels": torch.tensor([1, -1])},
    )
    write_tensors(path, tensors)
    whole = path.read_bytes()
    found = read_tensors(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in found)
    for at in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        found = read_tensors(path)
        assert not found or all(torch.equal(found.get(name), tensors[name]) for name in tensors), at
    for cut in (0, 7, 8, 40, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert read_tensors(path) == {}
    safetensors.torch.save_file(tensors, path)  # as version 0.2 did
    assert read_tensors(path).keys() == tensors.keys()


def test_files_that_are_being_written_have_names_of_their_own(tmp_path, monkeypatch):
    """Of two containers that share a folder, and of two threads."""
    seen = []
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, to: (seen.append(self.name), rename(self, to))[1])
    for content in ("one", "other"):
        write_whole(tmp_path / "a.json", content)
    assert len(set(seen)) == 2
    assert all(name.startswith(f".a.json.part-{owner_name()}.") for name in seen)
    assert os.listdir(tmp_path) == ["a.json"]


def test_nothing_is_left_of_what_could_not_be_written(tmp_path):
    (tmp_path / "a.json").mkdir()
    (tmp_path / "a.json" / "full").touch()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "a.json", "text")
    assert os.listdir(tmp_path) == ["a.json"]


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path):
    mine = parse(owner_name())
    dead, elsewhere = mine._replace(started=1), Owner("0" * 12, 1, 1)
    names = [f".a.json.part-{owner}.12345678" for owner in (dead, mine, elsewhere)]
    names += [f".a.json.part-{dead}", ".a.json.part-2", "a.json", f"b.part-{dead}.1"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / f".folder.part-{dead}.1").mkdir()
    for name in (".a.json.part-2", "a.json"):  # the user's own
        os.utime(tmp_path / name, (0, 0))
    sweep(tmp_path)
    assert set(os.listdir(tmp_path)) == {*names, f".folder.part-{dead}.1"} - {names[0], names[3]}
