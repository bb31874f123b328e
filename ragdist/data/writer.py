"""Write a source's images as WebDataset shards with their index: all of it, or nothing."""

import io
import os
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragdist import noise
from ragdist.data import index as index_file
from ragdist.data.codecs import CODECS
from ragdist.data.index import Index, scan
from ragdist.data.options import ShardOptions
from ragdist.data.sources import Source, open_source
from ragdist.errors import UserError
from ragdist.files import discard_on_error, sync, sync_folder
from ragdist.progress import Progress


@dataclass(frozen=True)
class Summary:
    """What was written, and what was not."""

    index: Index
    skipped: list[str]  # images that could not be read, with the reason
    ignored: list[str]  # files that are no images by their names


def write_shards(name: str, out: Path, options: ShardOptions, *, overwrite: bool = False) -> Summary:
    """Make shards and index in the folder ``out`` from the source called ``name``.

    Everything is written beside ``out`` and renamed at the end: ``out`` is complete or absent.

    Raises:
        UserError: nothing to read, a bad image, images that differ, ``out`` in use or not writable.
    """
    check(options)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not overwrite:
        raise UserError(f"{out} already exists and is not empty: choose another folder, or give --overwrite")
    part = out.with_name(f".{out.name}.part-{os.getpid()}")
    with discard_on_error(part, f"cannot write shards to {out}"):
        part.mkdir(parents=True)
        scratch = part / "scratch"
        scratch.mkdir()
        with open_source(name, scratch) as source:
            summary = _write(source, part, options)
        shutil.rmtree(scratch)
        (part / index_file.INDEX).write_text(summary.index.dumps())
        sync(part / index_file.INDEX)
        sync_folder(part)
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)
        sync_folder(out.parent)
    return summary


def check(options: ShardOptions) -> None:
    """Refuse values that no shards can have."""
    for name, least, most in (("size", 0, 2**15), ("quality", 1, 100), ("shard_samples", 1, 2**32), ("seed", 0, 2**63)):
        if not least <= (value := getattr(options, name)) <= most:
            raise UserError(f"--{name} {value}: it must be from {least:,} to {most:,}")


def _write(source: Source, folder: Path, options: ShardOptions) -> Summary:
    from webdataset import TarWriter

    order = noise.permutation(options.seed, noise.WRITER, 0, len(source.names))
    skipped: list[str] = []
    samples = _encoded(source, order, options, skipped)
    shards, shape, key = [], None, 0
    payload = CODECS["image"].payload
    for number in range(-(-len(order) // options.shard_samples)):
        path = folder / f"shard-{number:06d}.tar"
        with open(path, "wb") as file:
            with TarWriter(file, mtime=0) as tar:
                for _ in range(options.shard_samples):
                    if (sample := next(samples, None)) is None:
                        break
                    i, encoded = sample
                    shape = _same_shape(shape, (encoded.shape, source.names[i]))
                    row = {"__key__": f"{key:09d}", encoded.extension: encoded.data}
                    if source.labels:
                        row["cls"] = source.labels[i]
                    tar.write(row)
                    key += 1
            file.flush()
            os.fsync(file.fileno())
        shard, table = scan(path, payload)
        if not shard.samples:  # the last ones were skipped
            path.unlink()
            continue
        np.save(folder / shard.table, table, allow_pickle=False)
        sync(folder / shard.table)
        shards.append(shard)
    if not key:
        raise UserError(f"none of the {len(order)} images could be read; the first: {skipped[0]}")
    index = Index("image", shape[0], tuple(source.classes), tuple(shards))
    assert index.samples == key == len(order) - len(skipped)
    return Summary(index, skipped, source.ignored)


def _same_shape(before, now):
    """(shape, name) of the first sample, after comparing another's with it."""
    if before is None:
        return now
    if before[0] == now[0]:
        return before
    (a, first), (b, other) = before, now
    if a[1:] != b[1:]:
        advice = f"give --size {min(a[1], a[2])} to cut and resize them all"
        raise UserError(f"images of different sizes: {first} is {a[2]}x{a[1]}, {other} is {b[2]}x{b[1]}; {advice}")
    raise UserError(f"some images are grey and some in colour ({first}, {other}): give --channels 1 or --channels 3")


@dataclass(frozen=True)
class _Encoded:
    data: bytes
    extension: str
    shape: tuple[int, int, int]


def _encoded(source: Source, order: np.ndarray, options: ShardOptions, skipped: list[str]) -> Iterator:
    """(number, encoded image) in this order; Pillow decodes in threads, some ahead of the writer."""

    def work(i: int):
        try:
            return i, encode(source.open(i), options)
        except (OSError, ValueError, SyntaxError, EOFError) as error:  # what Pillow raises for broken files
            return i, str(error).splitlines()[0] if str(error) else type(error).__name__

    chunk = 512
    progress = Progress(len(order), unit="images written", first=False)
    with ThreadPoolExecutor(os.cpu_count()) as pool, closing(progress):
        for start in range(0, len(order), chunk):
            for i, result in pool.map(work, (int(i) for i in order[start : start + chunk])):
                progress.advance(1)
                progress.describe()
                if isinstance(result, _Encoded):
                    yield i, result
                elif options.bad == "fail":
                    raise UserError(
                        f"{source.names[i]} cannot be read as an image ({result}): remove it, or give --bad skip"
                    )
                else:
                    skipped.append(f"{source.names[i]}: {result}")


def encode(data: bytes, options: ShardOptions) -> _Encoded:
    """An image file's bytes as a sample's: decoded whole, brought to size and colour, its bytes kept if they fit.

    Raises:
        OSError, ValueError: it is no image, is cut off, or unpacks to too many pixels.
    """
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data))
            kind = image.format
            image.load()
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ValueError(str(error)) from error
    turned = ImageOps.exif_transpose(image)
    keep = options.format == "keep" and kind in ("JPEG", "PNG") and turned.size == image.size
    keep = keep and not image.getexif().get(0x0112, 1) > 1
    grey = options.channels == 1 or (options.channels == 0 and turned.mode in ("1", "L", "I", "I;16", "F", "LA"))
    mode = "L" if grey else "RGB"
    if turned.mode != mode:
        turned, keep = turned.convert(mode), False
    if options.size and turned.size != (options.size, options.size):
        turned, keep = ImageOps.fit(turned, (options.size, options.size), Image.Resampling.BICUBIC), False
    shape = (1 if grey else 3, turned.height, turned.width)
    if keep:
        return _Encoded(data, "jpg" if kind == "JPEG" else "png", shape)
    out = io.BytesIO()
    if options.format == "jpg":
        turned.save(out, "jpeg", quality=options.quality)
    else:
        turned.save(out, "png")
    return _Encoded(out.getvalue(), "jpg" if options.format == "jpg" else "png", shape)
