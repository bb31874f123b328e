"""Files that are no source: what they are, and what to do instead."""

import re
from collections.abc import Iterable
from pathlib import Path

_PICKLE = "is a Python pickle, which can run any code and is not read"
_CIFAR = re.compile(r"(^|/)(data_batch(_\d)?|test_batch)(\.\w+)?$|cifar-100-python|cifar-10-")

# What a file is, by its first bytes.
_MAGIC = (
    (b"PK\x03\x04", "is a zip that was cut off, or the first part of several: get it again"),
    (b"PK\x05\x06", "is a zip without content"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive: unpack it, and give the folder"),
    (b"Rar!", "is a RAR archive: unpack it, and give the folder"),
    (b"\x28\xb5\x2f\xfd", "is compressed with Zstandard: unpack it first, as with `zstd -d`"),
    (b"\x04\x22\x4d\x18", "is compressed with LZ4: unpack it first, as with `lz4 -d`"),
    (b"LZIP", "is compressed with lzip: unpack it first"),
    (b"\x1f\x9d", "is compressed with compress: unpack it first"),
    (b"PAR1", "is a Parquet file: put it in a folder of its own and give hf:FOLDER"),
    (b"ARROW1", "is an Arrow file: give hf:FOLDER with the folder that Dataset.save_to_disk wrote"),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file: save its images as a .npz with the arrays images and labels"),
    (b"MATLAB 5.0", "is a file of MATLAB: save its images as a .npz with the arrays images and labels"),
    (b"\x93NUMPY", "is an array of NumPy: call it .npy"),
    (
        b"\x00\x00\x08\x03",
        "holds the images of MNIST or a set in its format: give torchvision:MNIST, FashionMNIST, ...",
    ),
    (
        b"\x00\x00\x08\x01",
        "holds the labels of MNIST or a set in its format: give torchvision:MNIST, FashionMNIST, ...",
    ),
    (b"\x89PNG", "is one picture: give a folder of them"),
    (b"\xff\xd8\xff", "is one picture: give a folder of them"),
    (b"RIFF", "is one picture or recording: give the folder that it is in"),
    (b"fLaC", "is one recording: give the folder that it is in"),
    (b"OggS", "is one recording: give the folder that it is in"),
    (b"ID3", "is one recording: give the folder that it is in"),
    (b"%PDF", "is a PDF: give a folder of pictures"),
    (b"<!DOCTYPE", "is a page of the web and no data: look at it, for it may say why the download failed"),
    (b"<html", "is a page of the web and no data: look at it, for it may say why the download failed"),
    (b"version https://git-lfs", "is a pointer of Git LFS and not the file: fetch it by `git lfs pull`"),
)


def advice(name: str, head: bytes) -> str:
    """What a file that nothing here reads is, and what to do: the end of a sentence that begins with its name.

    Args:
        name: of the file.
        head: its first bytes; 512 are enough.
    """
    if re.match(rb"\x80[\x02-\x05]", head) or Path(name).suffix.lower() in (".pkl", ".pickle"):
        return f"{_PICKLE}: {_instead(name)}"
    if Path(name).suffix.lower() in (".pt", ".pth"):
        return f"is a file of torch.save, which can run any code and is not read: {_instead(name)}"
    for magic, says in _MAGIC:
        if head.startswith(magic):
            return says
    if head.strip(b"\0") == b"":
        return "holds nothing but zeros: get it again" if head else "is empty: get it again"
    return "is no tar and no zip: give one of a folder of class folders"


def _instead(name: str) -> str:
    if _CIFAR.search(name):
        return f"give torchvision:CIFAR{'100' if '100' in name else '10'}"
    return (
        "give torchvision:NAME if it is a known set, such as torchvision:CIFAR10; else save its images as a .npz with "
        "the arrays images and labels"
    )


def advice_for(names: Iterable[str]) -> str:
    """What to do with files that are no samples, by their names: an addition to a sentence; empty: nothing known."""
    for name in names:
        lower = name.lower()
        if _CIFAR.search(lower):
            return f"; these are Python pickles of CIFAR, which are not read: {_instead(lower)}"
        if lower.endswith((".pkl", ".pickle")):
            return f"; {name} {_PICKLE}: {_instead(lower)}"
        if "idx3-ubyte" in lower or "idx1-ubyte" in lower:
            return "; these are files of MNIST or a set in its format: give torchvision:MNIST, FashionMNIST, ..."
        if lower.endswith((".parquet", ".arrow")):
            return "; data of the datasets library are read as hf:FOLDER"
        if lower.endswith(".tar"):
            return "; WebDataset shards are read by `python -m ragdist.shards index`"
        if lower.endswith((".tar.gz", ".tgz", ".zip")):
            return f"; give an archive itself, such as {name}, or unpack it"
        if lower.endswith((".npy", ".npz")):
            return f"; give an array itself, such as {name}"
        if lower.endswith((".tfrecord", ".tfrecords", ".mdb", ".h5", ".hdf5", ".mat", ".rec")) or "tfrecord" in lower:
            return f"; {name} is read by the library that wrote it: save its images as a .npz with images and labels"
    return ""
