"""``python -m ragdist.shards SOURCE OUT``: make WebDataset shards and their index."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ragdist import modalities
from ragdist.config import cli
from ragdist.config.option import check_limits
from ragdist.modalities import joined_options
from ragdist.tools.errors import UserError, run_command
from ragdist.tools.words import printable, with_article

if TYPE_CHECKING:
    from ragdist.data.index import Index


def main(argv: list[str] | None = None) -> int | None:
    argv = cli.load_plugins(cli.arguments() if argv is None else argv)
    if argv and argv[0] in COMMANDS:
        return COMMANDS[argv[0]](argv[1:])
    return make(argv)


def make(argv: list[str]) -> None:
    """``SOURCE OUT``: write shards."""
    from ragdist.config.shards import SOURCES, ShardOptions

    parser = cli.Parser(
        prog="python -m ragdist.shards",
        description="Write a source's samples as WebDataset shards with an index, shuffled. "
        "Other commands: `index` indexes shards that are there already, `check` checks a data set whole, `stats` "
        "describes it; each has its own --help (a folder of such a name is ./index).",
    )
    parser.add_argument("source", help="what to read: " + SOURCES)
    parser.add_argument("out", help="folder to write, complete or not at all; or a URL such as s3://bucket/folder")
    parser.add_argument("--overwrite", action="store_true", help="replace what is in OUT")
    parser.add_class_arguments(ShardOptions, None, as_group=False)
    joined_options.of_writing().add_to(parser)
    parser.any_bytes = {"source"}
    values = parser.parse_args(argv)

    from ragdist.data.writing.writer import write_shards

    options = cli.build(ShardOptions, values)
    summary = write_shards(values.source, values.out, options, dict(values.items()), overwrite=values.overwrite)
    print_summary(values.out, summary, options.plugin)


def print_summary(out: str, summary, plugin: str = "") -> None:
    """Print what was written, what was not, and what to do next."""
    from ragdist.data.sources.grouping import unread_of

    index = summary.index
    labels = f"{len(index.classes)} classes" if index.classes else "no labels"
    units = modalities.making(index.codec).units
    print(f"{out}: {index.samples:,} samples {list(index.shape)} in {len(index.shards)} shards, {labels}")
    for remark in summary.remarks:
        print(remark)
    for note, count in summary.notes.most_common():
        print(f"{note}: {count:,} of {index.samples:,}")
    if summary.skipped:
        print(f"skipped {len(summary.skipped)} {units} that cannot be read:")
        for line in summary.skipped[:20]:
            print(f"  {printable(line)}")
        if len(summary.skipped) > 20:
            print(f"  and {len(summary.skipped) - 20} more")
    if summary.ignored:
        print(f"ignored {len(summary.ignored)} files that are no {units}, such as {printable(summary.ignored[0])}")
        if unread := unread_of(index.codec, summary.ignored):
            print(f"  but {unread}")
    print(_next(out, index, plugin))


def index(argv: list[str]) -> None:
    """``index URLS... --out DIR``: index shards that someone else wrote, where they are."""
    from ragdist.config.shards import IndexOptions

    parser = cli.Parser(
        prog="python -m ragdist.shards index",
        description="Index WebDataset tars that are there already, without rewriting them.",
    )
    parser.add_argument("urls", nargs="+", help="tars, folders, globs, URLs; braces: 'data-{000..146}.tar'")
    parser.add_argument("--overwrite", action="store_true", help="replace an index that is there already")
    parser.add_class_arguments(IndexOptions, None, as_group=False)
    joined_options.of_indexing().add_to(parser)
    values = parser.parse_args(argv)

    from ragdist.data.indexing.index_shards import index_shards

    options = cli.build(IndexOptions, values)
    summary = index_shards(values.urls, options, dict(values.items()), overwrite=values.overwrite)
    print_indexed(summary, options.plugin)


def print_indexed(summary, plugin: str = "") -> None:
    """Print what was indexed, what was left out, and what to do next."""
    found, plan, out = summary.index, summary.plan, summary.out
    labels = f"{len(found.classes)} classes" if found.classes else "no labels"
    making = modalities.making(plan.modality)
    payload = f".{plan.payload}" if plan.payload else f"the one {making.unit} of each sample"
    print(f"{out}: {found.samples:,} samples {list(found.shape)} in {len(found.shards)} shards, {labels}")
    print(f"read {payload}; their form is that of {plan.first}")
    for note, count in summary.notes.most_common():
        print(f"{note}: {count:,} of {found.samples:,}")
    if summary.bad_count:
        print(f"left out {summary.bad_count:,} samples:")
        for line in summary.bad[:20]:
            print(f"  {line}")
        if summary.bad_count > 20:
            print(f"  and {summary.bad_count - 20:,} more")
    if summary.empty:
        print(f"left out {len(summary.empty)} shards without a sample, such as {summary.empty[0]}")
    if summary.ignored:
        print("ignored members: " + ", ".join(f"{count:,} {kind}" for kind, count in summary.ignored.most_common(20)))
    if summary.unasked and not found.classes:
        print(f"no labels were asked for, and the .json members have '{summary.unasked}': --label {summary.unasked}")
    if summary.dotted:
        print(
            f"warning: {summary.dotted} is {with_article(making.unit)} beside another with the same key, which ends at "
            "the first dot of the name; if it is meant as a sample of its own, rename it"
        )
    print(_next(out, found, plugin))


def _next(out: "str | Path", index: "Index", plugin: str) -> str:
    making = modalities.making(index.codec)
    unlabelled = getattr(making, "begin_unlabelled", "")
    begin = making.begin if index.classes or not unlabelled else unlabelled
    begin += getattr(making, "begin_with", lambda form: "")(index.form)
    words = ["--data", str(out), *(["--plugin", plugin] if plugin else []), "--out", "runs/mine"]
    return f"next: python -m ragdist.train {begin} {shlex.join(words)}"


def check(argv: list[str]) -> int:
    """``check WHERE``: 0 if all is well, 1 if something is broken."""
    from ragdist.config.shards import CheckOptions

    parser = cli.Parser(
        prog="python -m ragdist.shards check",
        description="Check every shard, table and sample of a data set. Exit code: 0 all is well, 1 something is not.",
    )
    parser.add_argument("where", help="folder or URL of the index")
    parser.any_bytes = {"where"}
    parser.add_argument(
        "--with",
        dest="reader",
        choices=["webdataset"],
        help="compare with what that library reads, and say what it loses",
    )
    parser.add_class_arguments(CheckOptions, None, as_group=False)
    values = parser.parse_args(argv)

    from ragdist.data.indexing import check as checking

    found = checking.check(values.where, cli.build(CheckOptions, values), values.reader or "")
    if not found.wrong:
        print(f"{values.where}: all is well: {found.samples:,} samples in {found.shards} shards")
        return 0
    print(
        f"{values.where}: broken: {found.wrong} findings in {found.wrong_shards} of {found.shards} shards; "
        f"{found.right:,} of {found.samples:,} samples are right"
    )
    return 1


def stats(argv: list[str]) -> None:
    """``stats WHERE``: counts and figures, and a page of thumbnails."""
    from ragdist.config.shards import StatsOptions

    parser = cli.Parser(prog="python -m ragdist.shards stats", description="Say and show what a data set holds.")
    parser.add_argument("where", help="folder or URL of the index")
    parser.any_bytes = {"where"}
    parser.add_class_arguments(StatsOptions, None, as_group=False)
    values = parser.parse_args(argv)

    from ragdist.data.indexing import stats as counting

    options = cli.build(StatsOptions, values)
    check_limits(options)
    found = counting.read(values.where)
    lines = [*found.lines(), *counting.figures(found, options.decode)]
    print("\n".join(lines))
    if options.out:
        show(counting.pick(found, options.rows, options.columns), found.index, Path(options.out), lines)


def show(rows, index: "Index", path: Path, lines: list[str]) -> None:
    """Write a picture of [(class, samples)], or a page that says these lines, too."""
    if not rows:
        raise UserError("no sample can be read: `python -m ragdist.shards check` says why")
    from ragdist.modalities import pictures
    from ragdist.storage.files import os_errors_as_user_error, write_whole

    judging = modalities.judging(index.codec)
    with os_errors_as_user_error(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".html":
            write_whole(path, _page(rows, index, lines))
        else:
            pictured = [(name, judging.preview(samples, index.form, len(samples))) for name, samples in rows]
            pictures.save(pictures.named_rows(pictured), path)
    print(f"thumbnails: {path}")


def _page(rows, index: "Index", lines: list[str]) -> str:
    import html

    from ragdist.evaluation.report import page

    judging = modalities.judging(index.codec)
    rows = [(html.escape(name), judging.html(samples, index.form, len(samples))) for name, samples in rows]
    parts = [page.section(name, f"<div style='overflow-x: auto'>{samples}</div>") for name, samples in rows]
    return page.document(lines[0], [f"<pre>{html.escape(chr(10).join(lines[1:]))}</pre>", *parts])


COMMANDS = {"index": index, "check": check, "stats": stats}


if __name__ == "__main__":
    run_command(main)
