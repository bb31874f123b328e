"""What the samples of a shard that someone else wrote are, and which of their members, by the extensions."""

from collections.abc import Iterable

from ragdist import modalities
from ragdist.data.indexing.tar_samples import Payloads, Sample
from ragdist.modalities.base import Making


def modality_of(place: str, samples: list[Sample], payload: str) -> str:
    """The modality that the most samples have a payload of; of ``payload`` where it is said, see `_of_payload`.

    Raises:
        UserError: it is not the only one that most of them have.
    """
    all_making = modalities.all_making()
    asked = {name: making for name, making in all_making.items() if _of_payload(making, payload)} or all_making
    here = [set(sample.members) for sample in samples]
    count = {name: _having(here, making.payload) for name, making in asked.items()}
    if not any(count.values()):  # of what cannot be read it is said, and what to do
        here = [{_ending(extension) for extension in extensions} for extensions in here]
        count = {name: _having(here, _endings(making)) for name, making in asked.items()}
    most = max(count.values())
    return modalities.most_likely(place, {name: most * (2 * number > most) for name, number in count.items()})


def _of_payload(making: Making, payload: str) -> bool:
    """Whether an extension, as seg.png, ends as a payload does."""
    return _ending(payload) in making.payload


def _ending(extension: str) -> str:
    return extension.rpartition(".")[2]


def _having(samples: list[set[str]], extensions: Iterable[str]) -> int:
    """How many of the samples, given as sets of extensions, have one of these."""
    return sum(not extensions_of.isdisjoint(extensions) for extensions_of in samples)


def _endings(making: Making) -> frozenset[str]:
    """Extensions of samples that are no payloads."""
    return frozenset(end.lstrip(".") for end in {*making.suffixes, *getattr(making, "others", ())})


def payloads_of(making: Making) -> Payloads:
    """The members that are payloads."""
    unread = _endings(making).difference(making.payload)
    return Payloads(making.payload, making.unit, making.units, unread, getattr(making, "convert", ""))
