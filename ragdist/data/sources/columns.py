"""Which columns of a table hold paths and labels, by their names."""

from typing import Any

from ragdist.config.shards import ShardOptions
from ragdist.data.sources.source import Remarks
from ragdist.data.sources.tables import Table, joined, plain
from ragdist.tools.errors import UserError, nearest

# As they are written by people and programs; the first that is there is taken.
PATHS = (
    *("path", "file", "image", "file_name", "filename", "filepath", "file_path", "image_path", "imagepath", "img_path"),
    *("image_file", "imagefile", "image_name", "imagename", "image_filename", "img", "img_name", "img_file", "fname"),
    *("image_index", "picture", "photo", "audio", "audio_path", "audio_file", "name"),
    *("audio_filepath", "wav", "wav_path", "wav_file", "clip", "recording", "sound"),
)
IDS = ("image_id", "imageid", "img_id", "id", "file_id")  # names of files without their endings, as it may be
LABELS = (
    *(
        "label",
        "class",
        "labels",
        "target",
        "targets",
        "category",
        "class_name",
        "classname",
        "class_label",
        "label_name",
    ),
    *("class_id", "classid", "label_id", "labelid", "category_id", "category_name", "y", "cls", "species", "breed"),
)
TEXTS = (
    *("text", "texts", "sentence", "content", "line", "document", "body", "review", "comment", "message", "tweet"),
    *("title", "headline", "abstract", "caption", "description", "quote", "lyrics", "poem"),
)
_ONE_HOT = ({"0": 0, "1": 1, "0.0": 0, "1.0": 1}, {0: 0, 1: 1})  # as text; as numbers, and as what equals them


def path_column(table: Table, options: ShardOptions, ids: bool = False) -> str:
    """The column of paths.

    Args:
        table: to look in.
        options: ``image_column`` says which.
        ids: whether names without endings will do.

    Raises:
        UserError: there is none.
    """
    if options.image_column:
        return _said(table, options.image_column, "--image_column")
    names = (*PATHS, *IDS) if ids else PATHS
    if (found := next((name for name in names if name in table.columns), None)) is None:
        columns = list(table.columns.values())
        raise UserError(
            f"{table.name} has no column 'path' in its first line but {joined(columns) or 'nothing'}"
            f"{nearest(plain(columns[0]), PATHS[:4]) if columns else ''}"
        )
    return found


def text_column(table: Table, options: ShardOptions) -> str:
    """The column whose cells are texts themselves; empty: there is none.

    Raises:
        UserError: texts are asked for, and there is none.
    """
    if options.modality not in ("", "text") or (options.image_column and not options.modality):
        return ""
    if options.image_column:
        return _said(table, options.image_column, "--image_column")
    if not options.modality and any(name in table.columns for name in PATHS):
        return ""
    found = next((name for name in TEXTS if name in table.columns), "")
    if options.modality and not found:
        columns = joined(list(table.columns.values())) or "nothing"
        raise UserError(f"{table.name} has no column 'text' but {columns}: give --image_column")
    return found


def _said(table: Table, column: str, option: str) -> str:
    if plain(column) not in table.columns:
        raise UserError(f"{option} {column}: {table.name} has no such column{nearest(column, table.columns.values())}")
    return plain(column)


def labels(table: Table, path: str, options: ShardOptions, remarks: Remarks) -> tuple[list[Any], list[str]] | None:
    """Each row's label as it is written there, and names of the classes if columns are called so; None: no column.

    What was not used is remarked upon.

    Raises:
        UserError: a column may be meant, and it is not certain.
    """
    others = [column for column in table.columns if column != path]
    if options.label_column:
        column: str | None = _said(table, options.label_column, "--label_column")
    else:
        known = [name for name in others if name != "y" or "x" not in others]  # x and y are a place
        column = next((name for name in LABELS if name in known), None)
    if column is not None:
        _remark(table, f"labels are those of the column '{table.columns[column]}'", others, {column}, remarks)
        return [row.get(column) for _, row in table.rows], []
    hot = [column for column in others if _zeros_and_ones(table, column)]
    if len(hot) > 1 and (numbers := _one_hot(table, hot)) is not None:
        names = [table.columns[column].strip() for column in hot]
        _remark(table, f"labels are the columns {joined(names)}, of which one is 1", others, set(hot), remarks)
        return numbers, names
    for other in others:
        if meant := nearest(other, LABELS[:8]).partition("mean ")[2].rstrip("?") if _close(other) else "":
            raise UserError(
                f"{table.name} has a column '{table.columns[other]}'; did you mean {meant}? Give --label_column "
                f"{table.columns[other]}, or --labels none"
            )
    several = f" ({len(hot)} hold 0 and 1, and not one 1 in each row)" if len(hot) > 1 else ""
    _remark(table, f"no column of labels is known by its name{several}", others, set(), remarks)
    return None


def _close(name: str) -> bool:
    """Whether a name is nearly that of a column of labels."""
    import difflib

    return bool(difflib.get_close_matches(name, LABELS[:8], n=1, cutoff=0.75))


def _remark(table: Table, what: str, others: list[str], used: set[str], remarks: Remarks) -> None:
    left = [table.columns[column] for column in others if column not in used]
    if not left and used <= {"label", "class"}:
        return
    unused = f"; not used: {joined(left)}" if left else ""
    advice = "" if used or not left else f"; --label_column {left[0]} takes one"
    remarks.say(f"{table.name}: {what}{unused}{advice}")


def _zeros_and_ones(table: Table, column: str) -> bool:
    return all(_bit(row.get(column)) is not None for _, row in table.rows)


def _bit(value: Any) -> int | None:
    if isinstance(value, str):
        return _ONE_HOT[0].get(value.strip())
    return _ONE_HOT[1].get(value) if isinstance(value, (int, float)) else None


def _one_hot(table: Table, columns: list[str]) -> list[int] | None:
    """The place of the only 1 in each row; None where a row has another number of them."""
    found = []
    for _, row in table.rows:
        bits = [_bit(row[column]) for column in columns]
        if sum(bits) != 1:
            return None
        found.append(bits.index(1))
    return found
