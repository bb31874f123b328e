"""The index's file and digest over versions of the format."""

import hashlib
import json
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdist.data import index as index_file
from ragdist.data.index import Index, Shard
from ragdist.modalities.image import making
from ragdist.tools.errors import TooNew, UserError

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
names = st.text(min_size=1)
numbers = st.integers(1, 2**40)
shards = st.builds(Shard, names, names, numbers, numbers, digests, digests)
indexes = st.builds(
    Index,
    st.just("image"),
    st.tuples(numbers, numbers, numbers),
    st.lists(st.text()).map(tuple),
    st.lists(shards, min_size=1).map(tuple),
)


@dataclass(frozen=True)
class LaterShard(Shard):
    seconds: float = field(default=0.0, metadata={"since": 3})


@dataclass(frozen=True)
class LaterIndex(Index):
    licence: str = field(default="", metadata={"since": 4})


@pytest.fixture
def sounds(monkeypatch) -> None:
    """A kind of sample whose index says more than a shape."""
    monkeypatch.setattr(making, "spec", frozenset({"rate", "dtype"}))


def digest_of_the_first_version(index: Index) -> str:
    """As 0.1.0 made it."""
    content = {
        "format": "ragdist-index",
        "version": 1,
        "samples": sum(shard.samples for shard in index.shards),
        "codec": index.codec,
        "shape": list(index.shape),
        "classes": list(index.classes),
        "shards": [
            {"bytes": s.bytes, "samples": s.samples, "sha256": s.sha256, "table_sha256": s.table_sha256}
            for s in index.shards
        ],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@given(indexes)
def test_digests_are_those_of_the_first_version_while_nothing_more_is_said(index):
    assert index.digest == digest_of_the_first_version(index)
    assert index_file.loads(index.dumps(), "index.json") == index
    assert json.loads(index.dumps())["version"] == 1
    parts = tuple(LaterShard(**vars(shard)) for shard in index.shards)
    later = LaterIndex(**vars(index) | {"shards": parts})
    assert later.digest == index.digest
    assert later.dumps() == index.dumps()


@given(indexes, st.dictionaries(st.sampled_from(["rate", "dtype"]), st.integers() | st.text(), min_size=1))
def test_a_field_that_says_something_is_part_of_file_and_digest(index, spec):
    more = replace(index, spec=spec)
    assert more.version == 2
    assert more.digest != index.digest
    assert replace(more, spec=dict(reversed(spec.items()))).digest == more.digest
    content = json.loads(more.dumps())
    assert (content["version"], content["spec"]) == (2, spec)
    later = LaterIndex(**vars(more) | {"licence": "CC0"})
    assert (later.version, LaterIndex(**vars(more)).digest) == (4, more.digest)
    longer = (LaterShard(**vars(index.shards[0]), seconds=1.5), *index.shards[1:])
    assert replace(index, shards=longer).version == 3
    assert replace(index, shards=longer).digest != index.digest


def test_a_spec_is_read_where_it_is_understood(sounds):
    index = Index("image", (1, 8, 8), (), (Shard("a.tar", "a.npy", 10, 1, "0" * 64, "1" * 64),), {"rate": 16000})
    assert index_file.loads(index.dumps(), "index.json") == index
    with pytest.raises(TooNew, match=r"^index.json was written by .*\(spec.scale\): update ragdist$"):
        index_file.loads(replace(index, spec={"rate": 1, "scale": [1.0]}).dumps(), "index.json")
    changed = index.dumps().replace("16000", "8000")
    with pytest.raises(UserError, match="was changed after it was written"):
        index_file.loads(changed, "index.json")
    with pytest.raises(UserError, match=r"is damaged \(TypeError: its spec is none\)"):
        index_file.loads(json.dumps(json.loads(index.dumps()) | {"spec": ["rate"]}), "index.json")


def test_what_a_newer_version_says_is_refused_and_what_it_leaves_empty_is_not():
    index = Index("image", (1, 8, 8), (), (Shard("a.tar", "a.npy", 10, 1, "0" * 64, "1" * 64),))
    content = json.loads(index.dumps())
    for empty in ("", None, 0, [], {}):
        shard = content["shards"][0] | {"seconds": empty}
        assert index_file.loads(json.dumps(content | {"licence": empty, "shards": [shard]}), "index.json") == index
    with pytest.raises(TooNew, match=r"\(licence\): update ragdist$"):
        index_file.loads(json.dumps(content | {"licence": "CC0"}), "index.json")
    with pytest.raises(TooNew, match=r"\(seconds\): update ragdist$"):
        index_file.loads(json.dumps(content | {"shards": [content["shards"][0] | {"seconds": 2}]}), "index.json")
    with pytest.raises(TooNew, match=r"as ragdist-index version 3, .*: update ragdist$"):
        index_file.loads(json.dumps(content | {"version": 3}), "index.json")


@pytest.mark.parametrize("text", ["[]", "1", '"index"', "null", '{"format": "ragdist-index", "version": 1}', "{"])
def test_what_is_no_index_is_one_line(text):
    with pytest.raises(UserError, match=r"index.json (is damaged|is 'None')"):
        index_file.loads(text, "index.json")
