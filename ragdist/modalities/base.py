"""The three faces of a modality, and what they hand to each other.

A modality is an object, or a package, with the attributes ``making``, ``training`` and ``judging``: its faces. Each is
a module, or any other object with the attributes below. What only training needs is imported with that face alone.

A face may be a class that inherits one of these: methods with a body here suit most modalities.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, SupportsIndex

from ragdist.modalities import untransformed
from ragdist.tools.errors import UserError

if TYPE_CHECKING:  # the processes that write shards need no PyTorch
    import numpy as np
    from PIL import Image
    from torch import Tensor


class _Form(NamedTuple):
    shape: tuple[int, ...]  # stored: of a decoded sample, as [3, H, W]
    spec: Mapping[str, Any]  # what else its numbers mean, as {"rate": 16000}; empty: the shape says all


class Form(_Form):
    """The form of a data set's samples, equal for all of them: what an index says of them.

    It is what the index gives back, from the start: of tuples lists, of NumPy's numbers Python's.

    Raises:
        UserError: an index cannot say it.
    """

    __slots__ = ()

    def __new__(cls, shape: Iterable[SupportsIndex], spec: Mapping[str, Any] = MappingProxyType({})) -> Form:
        return super().__new__(cls, _whole(shape), _from_json(spec) if spec else {})


def _whole(shape: Iterable[SupportsIndex]) -> tuple[int, ...]:
    try:
        return tuple(map(operator.index, shape))
    except TypeError as error:
        raise UserError(
            f"a modality says of its samples the shape {shape!r}, which no index can: give whole numbers"
        ) from error


def _plain(value: Any) -> Any:
    """For JSON: any mapping, and NumPy's numbers."""
    return dict(value) if isinstance(value, Mapping) else value.item()


def _from_json(spec: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(spec), default=_plain, allow_nan=False))
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"a modality says of its samples {spec!r}, which no index can: give texts, finite numbers, true and false, "
            "lists and dictionaries of these"
        ) from error


@dataclass(frozen=True)
class Encoded:
    """A payload and its form."""

    data: bytes
    extension: str  # of the member in the shard, without a dot
    shape: tuple[int, ...]  # stored
    spec: dict[str, Any] = field(default_factory=dict)
    # What was done to the sample that its owner may want to know, as "composed on white"; the summary counts each.
    notes: tuple[str, ...] = ()

    @property
    def form(self) -> Form:
        """The form of the sample."""
        return Form(self.shape, self.spec)


class Statistic(NamedTuple):
    """A figure of each of several samples, of which a summary gives the span; or what some are, which it counts."""

    name: str  # "peak", "silent"
    values: Sequence[float] | Sequence[bool]  # of a sample each
    unit: str = ""  # "dB"


@dataclass
class NoOptions:
    """The options of a modality that has none."""


class Making(Protocol):
    """The first face: making and indexing shards. Needs no PyTorch."""

    units: str  # samples in messages, plural: "images"
    unit: str  # one: "image"
    payload: tuple[str, ...]  # extensions of a sample's member in a shard, the usual ones first
    suffixes: frozenset[str]  # endings of files that are samples, with the dot
    others: frozenset[str] = frozenset()  # endings of samples of kinds that are not read, to be named
    convert: str = ""  # how these can be converted: "as to PNG or JPEG"
    spec: frozenset[str]  # keys that an index's spec may have
    # Those of them that say how payloads are decoded and nothing of samples, with what is taken for files outside of
    # an index, where it does not say it.
    decoding: Mapping[str, Any] = MappingProxyType({})
    # Those of them that say how networks see samples, and nothing of samples as they are stored.
    of_networks: frozenset[str] = frozenset()
    # Dataclasses whose fields join a command's options (`joined_options`):
    options: type = NoOptions  # how source items become samples; of `ragdist.shards SOURCE OUT`
    index_options: type = NoOptions  # how members of others' shards do; of `ragdist.shards index`
    depends: Mapping[str, str] = {}  # library -> version: what payloads' bytes depend on beside the options
    begin: str  # options that `ragdist.train` may begin with: "--config cifar10"
    begin_unlabelled: str = ""  # those for data without labels, where they differ

    make_alike: str = ""  # option of `ragdist.shards` for data like others, which stand for {}

    def begin_with(self, form: Form) -> str:
        """Options that these need, for samples of this form, beside them: " --network.family mlp"."""
        return ""

    def reading(self) -> AbstractContextManager[None]:
        """A context around many calls of `encode`."""
        return nullcontext()

    # A modality may have both of these, whose items are then opened before they are encoded, and may be large:
    #
    # open_item(item) -> a context with what `encode` gets; ``item`` is an open file where the source has files
    # parts(options) -> None: an item is a sample; else a function of an opened item: how many samples it becomes. Then
    #     `encode` is called with the number of each of them, from 0 on, as a third argument.

    # Samples of a few bytes lie packed, several thousand in a member, as the array [n, *shape] of a .npy file:
    #
    # row_type(form) -> the NumPy type, little-endian, of a stored sample's numbers where samples of this form are
    #     packed; None: a member is a sample. For packed ones `encode` gives the numbers' bytes in C order with the
    #     extension "npy", and `Training.decode` gets such bytes. A shard's are decoded in one go where memory holds
    #     them: `Training.decode_all` should be fast, as `rows.decode_all` is.

    # A modality that has to know all of the data before it encodes a sample, as an alphabet or a scale:
    #
    # fit(items, options) -> options that say what was learned, too, for `parts` and `encode`; picklable, and equal for
    #     equal items. ``items`` is an iterable of what `encode` takes (opened, where items are): each pass gives those
    #     that can be read, in the source's order. Raises ValueError about the item of which it was last given: this
    #     ends the command, or with --bad skip `fit` is called anew without it, which takes long where there are many.
    #     So it should pass over what is bad: `encode` refuses it, and then it is named.
    # remarks(options) -> lines for the summary about what was learned, or left out.

    # index_fit(payloads, options) -> options that say what was learned, too, for `describe`: the same for members of
    #     others' shards, given as bytes, a new pass each time; it passes over those that are no samples.

    def encode(self, item: bytes | Any, options: Any) -> Encoded:
        """Encode a file's bytes, or what a source hands over instead, as a payload. Raises ValueError for no sample.

        ``options``: a `Making.options`.
        """

    def from_array(self, row: np.ndarray) -> Any:
        """An item for `encode` from a row of an array that `check_array` let pass."""
        return row

    # Files that may be samples of several modalities, as pictures with texts beside them, are those of the lowest.
    rank: int = 0

    # Whether an array that `check_array` lets pass is taken for such samples though nobody said so; "alone": where no
    # other modality's are likely.
    guess_arrays: bool | Literal["alone"] = True

    def unlikely_array(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape, which `check_array` lets pass, is hardly of such samples."""
        return False

    # Whether the rows of a .csv file are such samples, numbers, and not a listing of files.
    of_tables: bool = False

    def check_array(self, shape: tuple[int, ...], dtype: np.dtype) -> str:
        """The reason why an array [N, ...] holds no samples, as the end of a sentence; empty: it does."""

    def describe(self, payload: memoryview, options: Any) -> Form:
        """Read the form of a payload from its header, without unpacking it.

        Args:
            payload: a member's bytes, perhaps of someone else.
            options: of indexing, an `index_options`.

        Raises:
            ValueError: it is no sample, or one that would unpack to more than memory holds.
        """

    def in_words(self, form: Form) -> str:
        """A form in the user's words: "32x32 pixels, RGB"."""

    def loses(self, form: Form, options: Any) -> bool:
        """Whether decoding to this form takes away from samples of another one: then headers must be looked at."""
        return False

    def notes(self, payload: memoryview, form: Form) -> tuple[str, ...]:
        """What `Training.decode` does to a payload that others packed and may want to know; see `Encoded`.

        Raises ValueError for one that is bad, though it was decoded.
        """
        return ()

    def settled(self, form: Form, notes: Mapping[str, int]) -> Form:
        """The form that an index says, where `notes` said so much of its samples."""
        return form

    def refusal(self, first: tuple[str, Form], other: tuple[str, Form], *, writing: bool) -> str:
        """The user's sentence about two samples, (name, form), that cannot be in one data set; empty: they can.

        ``writing``: they are in a source that shards are made from, else in shards that someone else wrote, where the
        first has a name that says where it is, and the other one needs none.
        """
        (name, form), (odd, other_form) = first, other
        if form == other_form:
            return ""
        words, others = self.in_words(form), self.in_words(other_form)
        if writing:
            return f"{self.units} of different forms: {name} is {words}, {odd} is {others}; all must be alike"
        return f"it is {others}, and the first sample, {name}, {words}: all must be alike"


class Training(Protocol):
    """The second face: from payloads to what networks see."""

    head: str  # G's output: a name in `networks.HEADS`
    families: tuple[str, ...]  # network families that fit, for messages
    # A modality may have `augmentations`, an `augmentations.Augmentations`: random transforms of what D sees.
    points_are: str = "points"  # what `points` gives, in a word: "pixels"

    def decode(self, data: Tensor, form: Form) -> Tensor:
        """Decode a payload, uint8 [n], to a stored sample. Raises ValueError where it is none of this form."""

    def decode_all(self, payloads: list[memoryview], form: Form) -> Tensor:
        """Decode several payloads to [n, *form.shape]. Raises ValueError where any is none of this form."""
        import torch

        return torch.stack([self.decode(torch.frombuffer(payload, dtype=torch.uint8), form) for payload in payloads])

    def blank(self, count: int, form: Form) -> Tensor:
        """Stored samples [count, *form.shape] of zeros, in the type that `decode` gives."""

    def network_shape(self, form: Form) -> tuple[int, ...]:
        """The shape of a sample as networks see it, and G makes it."""

    def to_network(self, samples: Tensor, form: Form) -> Tensor:
        """Turn stored samples [b, *form.shape] into float32 [b, *network_shape], on their device."""

    def from_network(self, samples: Tensor, form: Form) -> Tensor:
        """Turn samples [b, *network_shape] that are finite into stored ones [b, *form.shape], on their device."""

    def check_transforms(self, options: Any, form: Form) -> str:
        """The reason against random transforms (`config.run.DataOptions`), a sentence; empty: they can be made."""
        return untransformed.check_transforms(options, form)

    def draws(self, options: Any) -> int:
        """How many uniform numbers `transform` takes for a sample; 0: no transform is asked for."""
        return 0

    def transform(self, samples: Tensor, uniform: np.ndarray, options: Any) -> Tensor:
        """Transform stored samples [b, *form.shape] at random: sample i by ``uniform`` [i, draws] in [0, 1)."""
        return samples

    def points(self, samples: Tensor, pool: int) -> Tensor:
        """Map samples [b, *network_shape] to the space of the relative term, float32 [b, D]; differentiable.

        ``pool``: samples are averaged down to at most so many values an axis.
        """


class Interpolation(NamedTuple):
    """What of samples between latents is looked at unless the user says otherwise."""

    samples: int = 64
    points: int = 5  # latents that each passes
    frames: int = 20  # from one of them to the next
    closed: bool = True  # whether the way goes on from the last latent to the first, as in an endless animation


class Judging(Protocol):
    """The third face: looking at samples, and measuring them. Samples are stored ones, [n, *form.shape]."""

    features: tuple[str, ...]  # names in `metrics.FEATURES` that suit, the default for data without labels first
    labelled_features: str = ""  # the default for data with labels; empty: as without
    classifier: str = ""  # features that name classes, which the measure `classes` needs; empty: there are none
    sees: str = ""  # what `classified` shows of a sample, in words that change with it; empty: a sample is a picture
    measures: tuple[str, ...] = ()  # names in `metrics.MEASURES` that suit, beside those of any features
    cheap: tuple[str, ...] = ()  # those of them that runs take on their way
    quantization: str  # what storing a sample rounds, in words: "8 bits a channel"
    out: str  # where `ragdist.generate` writes to unless it is told: "grid.png"; empty: it prints what `show` gives
    beside: int = 16  # most samples that a page has room for beside each other
    interpolation: Interpolation = Interpolation()

    def preview(self, samples: Tensor, form: Form, columns: int | None = None) -> Image.Image:
        """A picture of samples, row by row in so many columns: see `pictures.grid`."""

    def statistics(self, payloads: Sequence[memoryview], samples: Tensor, form: Form) -> Sequence[Statistic]:
        """Figures of payloads and of the samples that they were decoded to, in an order and of names that stay."""
        return ()

    def check_out(self, out: Path, animate: bool) -> str:
        """The reason why `write` or `animate` cannot write to a path, and what to do, a sentence; empty: they can."""

    def write(self, samples: Tensor, form: Form, out: Path, columns: int | None) -> str:
        """Write all samples as one file; returns what it holds, in words."""

    def write_each(self, samples: Tensor, form: Form, folder: Path, first: int) -> int:
        """Write samples as single files, the first of number ``first``; returns how many."""

    def animate(self, frames: Sequence[Tensor], form: Form, out: Path, columns: int | None) -> str:
        """Write frames of samples on their way between latents; returns what the file holds, in words."""
        from ragdist.modalities import pictures

        pictures.save_animation([self.preview(frame, form, columns) for frame in frames], out, milliseconds=50)
        return f"{len(frames)} frames of {len(frames[0])} samples"

    def log(self, board: Any, tag: str, samples: Tensor, form: Form, picture: Image.Image, step: int) -> None:
        """Show samples in TensorBoard (a SummaryWriter); `preview` made the picture of all. Each takes of the disk."""
        from ragdist.modalities import pictures

        board.add_image(tag, pictures.to_tensor(picture), step)

    def brought(self, file: bytes, form: Form) -> tuple[bytes, tuple[str, ...]]:
        """Bring a file of someone else's samples to this form, as a payload; and what was done to it, as "cut".

        Raises:
            ValueError: it is no sample, or cannot be brought there.
        """
        return file, ()

    def html(self, samples: Tensor, form: Form, columns: int) -> str:
        """Samples inside of a page."""
        from ragdist.modalities import pictures

        return pictures.inside(self.preview(samples, form, columns))

    def html_rows(self, rows: Sequence[tuple[str, Tensor]], form: Form) -> str:
        """Rows of samples, each with a name, inside of a page."""
        from ragdist.modalities import pictures

        found = [(name, self.preview(samples, form, len(samples))) for name, samples in rows]
        return pictures.inside(pictures.named_rows(found))

    # A modality may have these, too:
    #
    # show(samples, form) -> samples as lines of text.
    # several: ending, with the dot, -> function of the content of a file with that ending, which holds any number of
    #     samples, and of a form: the contents of a file for each, for `brought`, and None for each blank line, which is
    #     counted and left out. Raises ValueError where it holds none.
    # residual(samples, others, form) -> stored samples that show where each sample differs from the other one.
    # html_pairs(samples, others, form) -> each sample beside another one inside of a page, with what differs marked.

    def classified(self, samples: Tensor, form: Form) -> Tensor:
        """Pictures uint8 [n, C, H, W] of samples, in which the data's classifier finds their class."""
        return samples

    def vary(self, pictures: Tensor, uniform: np.ndarray) -> Tensor:
        """Transform such pictures at random in the classifier's training: picture i by ``uniform`` [i, 3] in [0, 1)."""
        return pictures
