"""The generator file: one safetensors file with the weights and all that is needed to sample.

It can be read without the run, and by anything that reads safetensors. Where it is asked for (--export_d) it has D's
weights, too, as ``discriminator.NAME``: for runs that start from it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import ragdist
from ragdist import modalities
from ragdist.config import identity, migrations, settings
from ragdist.data.index import Index, check_modality, check_spec
from ragdist.modalities.base import Form
from ragdist.networks import FAMILIES, HEADS
from ragdist.networks.base import Discriminator, Generator
from ragdist.networks.build import build_generator
from ragdist.storage.files import write_whole
from ragdist.tools.errors import UserError

FORMAT, VERSION = "ragdist-generator", 2
_WITHOUT_D = 1  # the version of files without a discriminator, which older ones read
_D = "discriminator"
SUFFIX = ".safetensors"


class Exported(NamedTuple):
    """A generator and the metadata of its file."""

    generator: Generator
    about: dict[str, Any]  # network, sample_shape (stored), classes, codec, spec, samples, weights_sha256
    discriminator: dict[str, Tensor] | None = None  # its state, where the file has it

    @property
    def form(self) -> Form:
        """The form of its samples once they are stored."""
        return Form(tuple(self.about["sample_shape"]), self.about["spec"])


def weights_sha256(state: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of a state dict, in the names' order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def num_classes(network: dict[str, Any], classes: tuple[str, ...] | list[str]) -> int:
    """The number of classes that networks are conditioned on: 0 without labels."""
    return len(classes) if network["labels"] else 0


def save(
    path: Path,
    generator: Generator,
    network: dict[str, Any],
    index: Index,
    seen: int,
    discriminator: Discriminator | None = None,
    **more: Any,
) -> None:
    """Write a generator file whole; the configuration and more are its metadata, under "ragdist"."""
    from safetensors.torch import save as to_bytes

    state, whole = _on_cpu(generator), {}
    if discriminator is not None:
        of_d = _on_cpu(discriminator)
        whole = {f"{_D}.{name}": value for name, value in of_d.items()}
        more |= {_D: weights_sha256(of_d)}
    about = {
        "format": FORMAT,
        "version": VERSION if whole else _WITHOUT_D,
        "ragdist": ragdist.__version__,
        "network": network,
        "sample_shape": list(index.shape),
        "classes": list(index.classes),
        "codec": index.codec,
        "spec": modalities.comparable(index.codec, index.form).spec,
        "samples": seen,
        "weights_sha256": weights_sha256(state),
        **more,
    }
    write_whole(path, to_bytes(state | whole, {"ragdist": json.dumps(about)}))


def _on_cpu(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}


def about(path: Path) -> dict[str, Any]:
    """Read a generator file's metadata; empty where there is no file, or a damaged one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return _of_today(json.loads((file.metadata() or {}).get("ragdist", "{}")), path)
    except (OSError, SafetensorError, ValueError):
        return {}


def load(path: Path, device: torch.device) -> Exported:
    """Load the generator of a file, in evaluation mode.

    Raises:
        UserError: the file is missing, damaged, of a newer version, or no exported generator.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"no generator at {path}: train first, or name a run or its generator.safetensors")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("ragdist", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}): copy it again, or continue the run to write it anew") from error
    if about.get("format") != FORMAT:
        raise UserError(f"{path} is not a generator that ragdist wrote")
    migrations.check_format(about, FORMAT, VERSION, str(path))
    about = {"spec": {}} | _of_today(about, path)
    of_d = {name: state.pop(name) for name in list(state) if _D in about and name.startswith(f"{_D}.")}
    of_d = {name.removeprefix(f"{_D}."): value for name, value in of_d.items()}
    if weights_sha256(state) != about["weights_sha256"] or (of_d and weights_sha256(of_d) != about[_D]):
        raise UserError(f"{path} is damaged (its weights are not those it names): copy it again")
    about["network"] = network = _network_of_today(about["network"], path, about.get("ragdist"))
    if network["family"] not in FAMILIES:
        where = identity.origin(about, "network.family")
        raise UserError(f"{path} was made by the network family '{network['family']}', which is not here{where}")
    check_modality(about["codec"], str(path))
    check_spec(about["codec"], about["spec"], str(path), about.get("ragdist"))
    modality = modalities.training(about["codec"])
    if modality.head not in HEADS:
        where = identity.origin(about, "head")
        raise UserError(f"{path} was made with the output head '{modality.head}', which is not here{where}")
    shape = modality.network_shape(Form(tuple(about["sample_shape"]), about["spec"]))
    try:
        generator = build_generator(network, shape, num_classes(network, about["classes"]), head=modality.head)
        generator.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError) as error:
        changed = "; ".join(identity.changed(about)) or str(error).splitlines()[0]
        raise UserError(f"{path} does not fit the network family '{network['family']}' ({changed})") from error
    return Exported(generator.to(device).eval().requires_grad_(False), about, of_d or None)


def _of_today(about: dict[str, Any], path: Path) -> dict[str, Any]:
    """Metadata by today's names, those of the evaluation among them."""
    found = migrations.RECORDS.migrated(about, str(path))
    if evaluation := found.get("evaluation"):
        found["evaluation"] = migrations.RECORDS.migrated(evaluation, str(path))
    return found


def _network_of_today(network: dict[str, Any], path: Path, version: str | None) -> dict[str, Any]:
    options = settings.of_today({f"network.{name}": value for name, value in network.items()}, str(path), version)
    return {name.removeprefix("network."): value for name, value in options.items() if name.startswith("network.")}
