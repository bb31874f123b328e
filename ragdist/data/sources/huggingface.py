"""``hf:NAME``: a data set of the Hugging Face hub, or a folder that the datasets library can load."""

from pathlib import Path
from typing import Any

from ragdist import modalities
from ragdist.config.shards import ShardOptions
from ragdist.data.labels import numbered
from ragdist.data.sources.columns import LABELS, TEXTS
from ragdist.data.sources.source import Numbered, Remarks, Source
from ragdist.data.sources.tables import joined, plain
from ragdist.tools.errors import UserError, nearest

# Types of columns that hold a class, where the name says so.
_LABEL_TYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "string", "large_string")
)


# The library's type of a column with samples' files, by their modality; and the keys of one where they are decoded.
_TYPES = {"image": "Image", "audio": "Audio"}
_TEXT = ("string", "large_string")
_DECODED = {"audio": ("array", "sampling_rate")}


class RowReader:
    """Reads samples, encoded or not, by their row of a data set, which is pickled as the names of its files."""

    def __init__(self, rows: Any, column: str, unit: str):
        self.rows, self.column, self.unit = rows, column, unit

    def __call__(self, place: int) -> Any:
        value = self.rows[place][self.column]
        if value is None:
            raise ValueError(f"the row has no {self.unit}")
        if isinstance(value, str) or "bytes" not in value:
            return value
        return value["bytes"] if value["bytes"] is not None else Path(value["path"]).read_bytes()


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """The samples of one split, with the labels of its ClassLabel column or of the column that is named."""
    where = f"hf:{name}"
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{where} needs the datasets library: pip install 'ragdist[hf]'") from error
    rows = _load(where, name, options)
    modality, column = _samples(where, rows.features, options)
    label = options.label_column or _only(where, rows.features, datasets.ClassLabel, "label", "--label_column")
    for option, value in (("--image_column", column), ("--label_column", label)):
        if value and value not in rows.features:
            raise UserError(f"{option} {value}: {where} has no such column{nearest(value, rows.features)}")
    remarks = Remarks()
    label = label or _by_name(where, rows.features, column, remarks)
    labels, classes = _labels(where, rows, label) if label else ([], [])
    making, encoded = modalities.making(modality), rows.select_columns([column])
    if modality == "text":
        remarks.say(f"{where}: texts are those of the column '{column}'")
    elif _is_decoded(rows.features[column], modality):
        encoded = encoded.with_format("numpy")
    else:
        try:
            encoded = encoded.cast_column(column, getattr(datasets, _TYPES[modality])(decode=False))
        except (TypeError, ValueError, NotImplementedError) as error:
            raise UserError(f"--image_column {column}: {where} has no {making.units} there") from error
    identity = f"{where} {options.hf_config} {rows.split} {column} {label} {rows.num_rows} {rows.info.version} "
    identity += str([(Path(f["filename"]).name, _size(f["filename"])) for f in rows.cache_files])
    return Source(
        Numbered(len(rows), "row"),
        range(len(rows)),
        RowReader(encoded, column, making.unit),
        modality,
        identity,
        labels,
        classes,
        remarks=remarks.lines(),
    )


def _samples(where: str, features: dict, options: ShardOptions) -> tuple[str, str]:
    """The modality of the samples, and their column: of a type that holds such samples, or the one that is named."""
    import datasets

    texts = [plain(name) for name, feature in features.items() if getattr(feature, "dtype", "") in _TEXT]
    if options.modality == "text":
        if options.image_column:
            return "text", options.image_column
        if found := next((name for name in TEXTS if name in texts), ""):
            return "text", next(name for name in features if plain(name) == found)
        raise UserError(f"{where} has no column 'text' but {', '.join(features)}: give --image_column")
    if options.modality and options.modality not in _TYPES:
        units = modalities.making(options.modality).units
        raise UserError(f"--modality {options.modality}: {where} can hold no {units} that are read here")
    asked = [options.modality] if options.modality else list(_TYPES)
    if column := options.image_column:
        feature = features.get(column)
        is_one = (name for name in asked if isinstance(feature, getattr(datasets, _TYPES[name])))
        return next(is_one, None) or next((name for name in asked if _is_decoded(feature, name)), asked[0]), column
    for name in asked:
        if column := _only(where, features, getattr(datasets, _TYPES[name]), name, "--image_column"):
            return name, column
    for name in asked:
        if column := next((column for column, feature in features.items() if _is_decoded(feature, name)), ""):
            return name, column
    if not options.modality and (found := next((name for name in TEXTS if name in texts), "")):
        return "text", next(name for name in features if plain(name) == found)
    units = " or ".join(modalities.making(name).units for name in asked)
    raise UserError(f"{where} has no column of {units} but {', '.join(features)}")


def _is_decoded(feature: Any, modality: str) -> bool:
    return isinstance(feature, dict) and modality in _DECODED and set(_DECODED[modality]) <= set(feature)


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


def _by_name(where: str, features: dict, samples: str, remarks: Remarks) -> str:
    """The column of labels by its name, for sets that do not say so by its type; empty: none."""
    others = [name for name in features if name != samples]
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
