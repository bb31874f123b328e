"""What random transforms make of images: ``python -m benchmarks.augmentations --data shards/cifar10 --out FILE.png``.

A row for each transform that images have, at full strength, below the images as they are.
"""

from pathlib import Path

import torch

from benchmarks import options as command_line
from ragdist import modalities
from ragdist.data import index as indexes
from ragdist.data.reader import ShardReader
from ragdist.data.shard_files import ShardFiles
from ragdist.modalities import pictures


def main() -> None:
    parser = command_line.parser("augmentations", __doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=Path("augmentations.png"))
    parser.add_argument("--images", type=int, default=8)
    options = parser.parse_args()
    index = indexes.load(options.data)
    images = modalities.training(index.codec)
    reader, every = ShardReader(ShardFiles(options.data, index)), index.shards[0].samples // options.images
    stored = torch.stack([reader.read(0, number * every)[0] for number in range(options.images)])
    samples, form = images.to_network(stored, index.form), index.form
    generate, rows = torch.Generator().manual_seed(0), [("as they are", samples)]
    for name in (*images.augmentations.transforms, "diffaugment", "ada"):
        chain = images.augmentations.chain(name, samples.shape[1:])
        uniform = torch.rand(len(samples), chain.width, generator=generate)
        rows.append((name, chain(samples, chain.switched(uniform, torch.ones(())))))
    preview = modalities.judging(index.codec).preview
    shown = [(name, preview(images.from_network(row, form), form, len(row))) for name, row in rows]
    pictures.save(pictures.named_rows(shown), options.out)
    print(f"{options.out}: {len(rows)} rows of {len(samples)} images")


if __name__ == "__main__":
    main()
