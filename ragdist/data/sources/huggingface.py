"""``hf:NAME``: a data set of the Hugging Face hub, or a folder that the datasets library can load."""

from pathlib import Path
from typing import Any

from ragdist.config.shards import ShardOptions
from ragdist.data.labels import numbered
from ragdist.data.sources.columns import LABELS
from ragdist.data.sources.source import Numbered, Remarks, Source
from ragdist.data.sources.tables import joined, plain
from ragdist.tools.errors import UserError, nearest

# Types of columns that hold a class, where the name says so.
_LABEL_TYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "string", "large_string")
)


class RowReader:
    """Reads encoded images by their row of a data set, which is pickled as the names of its files."""

    def __init__(self, rows: Any, column: str):
        self.rows, self.column = rows, column

    def __call__(self, place: int) -> bytes:
        value = self.rows[place][self.column]
        if value is None:
            raise ValueError("the row has no image")
        return value["bytes"] if value["bytes"] is not None else Path(value["path"]).read_bytes()


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """The images of one split, with the labels of its ClassLabel column or of the column that is named."""
    where = f"hf:{name}"
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{where} needs the datasets library: pip install 'ragdist[hf]'") from error
    rows = _load(where, name, options)
    column = options.image_column or _only(where, rows.features, datasets.Image, "image", "--image_column")
    label = options.label_column or _only(where, rows.features, datasets.ClassLabel, "label", "--label_column")
    for option, value in (("--image_column", column), ("--label_column", label)):
        if value and value not in rows.features:
            raise UserError(f"{option} {value}: {where} has no such column{nearest(value, rows.features)}")
    if not column:
        raise UserError(f"{where} has no column of images but {', '.join(rows.features)}")
    remarks = Remarks()
    label = label or _by_name(where, rows.features, column, remarks)
    labels, classes = _labels(where, rows, label) if label else ([], [])
    try:
        encoded = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise UserError(f"--image_column {column}: {where} has no images there") from error
    identity = f"{where} {options.hf_config} {rows.split} {column} {label} {rows.num_rows} {rows.info.version} "
    identity += str([(Path(f["filename"]).name, _size(f["filename"])) for f in rows.cache_files])
    return Source(
        Numbered(len(rows), "row"),
        range(len(rows)),
        RowReader(encoded, column),
        "image",
        identity,
        labels,
        classes,
        remarks=remarks.lines(),
    )


def _size(file: str) -> int:
    return Path(file).stat().st_size


def _load(where: str, name: str, options: ShardOptions):
    """The rows of the split: the named one, else ``train``, else the only one."""
    import datasets

    path = Path(name).expanduser()
    saved = any((path / file).is_file() for file in ("dataset_dict.json", "state.json"))
    try:
        if saved:  # by Dataset.save_to_disk
            loaded = datasets.load_from_disk(str(path))
        else:
            loaded = datasets.load_dataset(str(path) if path.is_dir() else name, options.hf_config or None)
    except Exception as error:  # the hub, the network and each format fail in their own ways
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{where} cannot be loaded ({why})") from error
    if not isinstance(loaded, dict):  # saved without splits
        if options.split:
            raise UserError(f"--split {options.split}: {where} has no splits; leave it out")
        return loaded
    split = options.split or ("train" if "train" in loaded or len(loaded) > 1 else next(iter(loaded)))
    if split not in loaded:
        raise UserError(f"--split {split}: {where} has no such split{nearest(split, loaded)}")
    return loaded[split]


def _only(where: str, features: dict, kind: type, what: str, option: str) -> str:
    """The column of this type, or of its usual name if there are several; empty: none."""
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(found) > 1 and what not in found:
        raise UserError(f"{where} has several columns of {what}s ({', '.join(found)}): give {option}")
    return what if what in found else next(iter(found), "")


def _by_name(where: str, features: dict, images: str, remarks: Remarks) -> str:
    """The column of labels by its name, for sets that do not say so by its type; empty: none."""
    others = [name for name in features if name != images]
    known = {plain(name): name for name in others if str(getattr(features[name], "dtype", "")) in _LABEL_TYPES}
    if found := next((known[name] for name in LABELS if name in known), ""):
        remarks.say(f"{where}: labels are those of the column '{found}'")
    elif others:
        remarks.say(f"{where}: no column of labels is known; not used: {joined(others)}; --label_column takes one")
    return found


def _labels(where: str, rows, column: str) -> tuple[list[int], list[str]]:
    values = list(rows[column])
    if values and all(value == -1 for value in values):  # a split without labels
        return [], []
    return numbered(where, values, getattr(rows.features[column], "names", ()), each="row {}".format)
