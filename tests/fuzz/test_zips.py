"""Damaged zips are refused, or read as zipfile reads them: never cut silently."""

import io
import struct
import zipfile
import zlib
from random import Random

from ragdist.config.shards import ShardOptions
from ragdist.data.sources import open_source
from ragdist.tools.errors import UserError
from tests.data_in_the_wild.making import png
from tests.fuzz.damage import damaged
from tests.fuzz.test_tars import remarked

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def packed(random: Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for i in range(random.randrange(1, 9)):
            folder, slash = random.choice(("cat", "dog", "k\xe4tzchen")), random.choice("//\\")
            name = f"{folder}{slash}{i}.{random.choice(('png', 'txt'))}"
            info = zipfile.ZipInfo(random.choice(("", "", "/", "../")) + name)
            info.create_system = random.choice((0, 3))
            info.external_attr = random.choice((0o100644, 0o100644, 0o120777)) << 16
            archive.writestr(info, png(i) if name.endswith("png") else b"text" * i, random.choice(METHODS))
    return out.getvalue()


def test_zips(rounds, tmp_path):
    originals = [packed(Random(seed)) for seed in range(30)]
    path = tmp_path / "a.zip"
    for random in rounds(500):
        path.write_bytes(damaged(random, originals))
        try:
            source = open_source(str(path), ShardOptions(bad="skip", labels="none"), tmp_path)
        except UserError:
            continue
        with zipfile.ZipFile(path) as archive:
            # By all that the directory says: damaged, two members may be said to lie at one place.
            members = {
                (m.header_offset, m.compress_size, m.file_size, m.compress_type, m.CRC): m for m in archive.infolist()
            }
            files = [m for m in archive.infolist() if not m.filename.endswith(("/", "\\")) or m.file_size]
            skipped = remarked([line for line in source.remarks if "in its first" not in line])
            assert len(source.places) + len(source.ignored) + skipped == len(files)
            for place in source.places:
                content = read(source.read, place)
                if content is not None:
                    member = members[place]
                    assert (len(content), zlib.crc32(content)) == (member.file_size, member.CRC)
                    assert by_zipfile(archive, member) in (None, content)


def read(read, place) -> bytes | None:
    try:
        return read(place)
    except ValueError:
        return None


def by_zipfile(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | None:
    """A member's bytes; None where zipfile refuses it, as for another name in its local header."""
    try:
        return archive.read(member)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, ValueError, struct.error):
        return None
