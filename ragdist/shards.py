"""``python -m ragdist.shards SOURCE OUT``: make WebDataset shards and their index."""

from ragdist import cli
from ragdist.errors import run_command


def main(argv: list[str] | None = None) -> None:
    from ragdist.data.options import SOURCES, ShardOptions

    parser = cli.Parser(
        prog="python -m ragdist.shards",
        description="Write a source's images as WebDataset shards with an index, shuffled.",
    )
    parser.add_argument("source", help="what to read: " + SOURCES)
    parser.add_argument("out", help="folder to write, complete or not at all; or a URL such as s3://bucket/folder")
    parser.add_argument("--overwrite", action="store_true", help="replace what is in OUT")
    parser.add_class_arguments(ShardOptions, None, as_group=False)
    values = parser.parse_args(cli.arguments() if argv is None else argv)

    from ragdist.data.writer import write_shards

    options = cli.build(ShardOptions, values)
    print_summary(values.out, write_shards(values.source, values.out, options, overwrite=values.overwrite))


def print_summary(out: str, summary) -> None:
    """Say what was written, what was not, and what to do next."""
    index = summary.index
    labels = f"{len(index.classes)} classes" if index.classes else "no labels"
    print(f"{out}: {index.samples:,} samples {list(index.shape)} in {len(index.shards)} shards, {labels}")
    if summary.skipped:
        print(f"skipped {len(summary.skipped)} images that cannot be read:")
        for line in summary.skipped[:20]:
            print(f"  {line}")
        if len(summary.skipped) > 20:
            print(f"  and {len(summary.skipped) - 20} more")
    if summary.ignored:
        print(f"ignored {len(summary.ignored)} files that are no images, such as {summary.ignored[0]}")
    print(f"next: python -m ragdist.train --config cifar10 --data {out} --out runs/mine")


if __name__ == "__main__":
    run_command(main)
