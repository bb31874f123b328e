"""The strict walker finds what tarfile finds in a whole tar, and says what tarfile passes over in a damaged one."""

import gzip
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdist.data.indexing.tar_walk import Member, TarDamage, walk

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=30).filter(
    lambda name: name.strip(".")
)
PATHS = st.lists(NAMES, min_size=1, max_size=12).map("/".join)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE])
FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def make(entries, format=tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, content, kind in entries:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mtime = kind, len(content) if kind == tarfile.REGTYPE else 0, 1.5
            info.linkname = "somewhere/else" if kind == tarfile.SYMTYPE else ""
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def three() -> bytes:
    return make([(f"{i}.jpg", bytes([65 + i]) * 700, tarfile.REGTYPE) for i in range(3)])


def by_tarfile(data: bytes) -> list[tuple]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(m.name, m.offset, m.offset_data, m.size) for m in tar if m.isreg()]


def found(data: bytes) -> list[tuple]:
    return [(m.name, m.header, m.offset, m.size) for m in walk(data)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(PATHS, st.binary(max_size=1500), KINDS), max_size=8), FORMATS)
def test_members_and_offsets_are_tarfiles(entries, format):
    data = make(entries, format)
    assert found(data) == by_tarfile(data)


def test_a_long_name_goes_on_to_its_zero():
    """As other readers take it, which read whole blocks, whatever size its header says."""
    data = bytearray(make([("x" * 150 + ".jpg", b"content", tarfile.REGTYPE)], tarfile.GNU_FORMAT))
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 100
    data[:512] = header.tobuf(tarfile.GNU_FORMAT)
    assert found(bytes(data)) == by_tarfile(bytes(data))


def test_sizes_beyond_eight_gigabytes_are_read(monkeypatch):
    """A size in base 256 (GNU), and one in a PAX header."""
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        info = tarfile.TarInfo("large.jpg")
        info.size = 9 << 30
        with pytest.raises(TarDamage, match=r"large.jpg has 9,663,676,416 bytes and only 0 are there"):
            list(walk(info.tobuf(format)))


def test_every_cut_is_found():
    data = three()
    end = by_tarfile(data)[-1][2] + 1024 + 1024  # padded content, marker
    assert found(data[:end]) == found(data), "the padding of the last record is not needed"
    for cut in [*range(0, end, 64), end - 1, end - 512, end - 1024, 1, 511, 513]:
        with pytest.raises(TarDamage):
            list(walk(data[:cut]))


@given(st.integers(0, 511), st.integers(0, 7), st.integers(0, 2))
def test_a_flipped_bit_of_a_header_is_found_or_does_no_harm(byte, bit, member):
    data = bytearray(three())
    data[by_tarfile(bytes(data))[member][1] + byte] ^= 1 << bit
    try:
        assert found(bytes(data)) == found(three())
    except TarDamage:
        return
    assert 148 <= byte < 156, "only the checksum's own padding may differ"


def test_a_corrupt_header_in_mid_shard_is_found():
    data = bytearray(three())
    at = by_tarfile(bytes(data))[1][1]
    data[at + 5] ^= 0xFF
    assert len(by_tarfile(bytes(data))) == 1, "tarfile stops there and says nothing"
    walker = walk(bytes(data))
    assert next(walker) == Member("0.jpg", 0, 512, 700)
    with pytest.raises(TarDamage, match=f"at byte {at:,}, after 0.jpg, the header is damaged"):
        next(walker)


def test_a_block_of_zeros_in_the_middle_is_found():
    data = bytearray(three())
    at = by_tarfile(bytes(data))[1][1]
    data[at : at + 512] = bytes(512)
    assert len(by_tarfile(bytes(data))) == 1, "tarfile stops there and says nothing"
    with pytest.raises(TarDamage, match=f"at byte {at:,}, after 0.jpg, zeros, .* other content from byte {at + 512:,}"):
        list(walk(bytes(data)))


def test_tars_that_were_joined_are_found():
    with pytest.raises(TarDamage, match="other content from byte 10,240"):
        list(walk(three() + three()))


def test_a_cut_between_members_is_found():
    data = three()
    at = by_tarfile(data)[2][1]
    assert len(by_tarfile(data[:at])) == 2, "tarfile takes it for the end"
    with pytest.raises(TarDamage, match=f"at byte {at:,}, after 1.jpg, the file ends without an end-of-archive marker"):
        list(walk(data[:at]))


def test_a_long_name_without_its_member_is_found():
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = make([("a" * 200 + ".jpg", b"x", tarfile.REGTYPE)], format)
        with pytest.raises(TarDamage, match="is missing"):
            list(walk(data[:1024] + bytes(10_240)))
        with pytest.raises(TarDamage, match="is missing: another"):
            list(walk(data[:1024] + data))
        if format == tarfile.PAX_FORMAT:  # with its name blanked, too
            with pytest.raises(TarDamage, match="is missing"):
                list(walk(data[:512] + bytes(10_240)))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it is empty"),
        (b"what is this?" * 1000, "it is no tar"),
        (gzip.compress(three()) + bytes(512), "it is compressed"),
    ],
)
def test_what_is_no_tar_is_named(data, says):
    with pytest.raises(TarDamage, match=says):
        list(walk(data))


def header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (header("a", tarfile.GNUTYPE_LONGNAME, 1 << 40), "a name of 1,099,511,627,776 bytes"),
        (header("a", tarfile.REGTYPE, -512), "a size below zero"),
        (header("a", tarfile.XHDTYPE, 512) + b"99 path=x\n".ljust(512, b"\0"), "long name is damaged"),
        (header("a", tarfile.XHDTYPE, 512) + b"0 path=x\n".ljust(512, b"\0"), "long name is damaged"),
        (
            header("a", tarfile.XHDTYPE, 512) + b"11 size=-9\n".ljust(512, b"\0") + header("a", b"0", 0),
            "its size is no number",
        ),
        (header("a", tarfile.GNUTYPE_SPARSE, 0), "stored with holes"),
    ],
)
def test_headers_that_lie_are_refused(data, says):
    with pytest.raises(TarDamage, match=says):
        list(walk(data + bytes(10_240)))


def test_a_name_cannot_write_to_the_terminal():
    data = make([("\x1b[2J\n.jpg", b"x", tarfile.REGTYPE)])
    with pytest.raises(TarDamage) as error:
        list(walk(data[:1024]))
    assert str(error.value).isprintable()
