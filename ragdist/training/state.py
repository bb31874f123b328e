"""The state of a training: all tensors that go round from update to update, into checkpoints and back."""

from dataclasses import asdict, replace
from typing import Any

import torch

from ragdist import modalities
from ragdist.config import Config, identity, settings
from ragdist.config.run import flat
from ragdist.data.index import Index
from ragdist.distributed.world import World
from ragdist.generation import generator_file
from ragdist.modalities.augmentations import Augmentations
from ragdist.networks import FAMILIES
from ragdist.networks.build import build_discriminator, build_generator
from ragdist.runs import checkpoint
from ragdist.runs.folder import RunFolder
from ragdist.tools.errors import UserError
from ragdist.training import transfer
from ragdist.training.augmentation import Augmentation
from ragdist.training.optimizers import Optimizers


class TrainingState:
    """Networks, the moving average of G, optimizers, and the count of samples seen; equal on all workers.

    Order and noise are functions of that count.

    Args:
        config: the run's configuration, checked.
        index: the data's index.
        device: of the networks.

    Raises:
        UserError: the networks cannot make such samples, or there are no labels to condition them on.
    """

    def __init__(self, config: Config, index: Index, device: torch.device):
        if config.network.labels and not index.classes:
            raise UserError("--network.labels true: these data have no labels; give --network.labels false")
        self.config, self.index = config, index
        self.code = identity.code_of(config, index.packages)
        self.modality = modality = modalities.training(index.codec)
        network, shape = asdict(config.network), modality.network_shape(index.form)
        self.classes = generator_file.num_classes(network, index.classes)
        try:
            self.generator = build_generator(network, shape, self.classes, seed=config.seed, head=modality.head).to(
                device
            )
            self.discriminator = build_discriminator(
                network, shape, self.classes, seed=config.seed, head=modality.head
            ).to(device)
        except ValueError as error:
            raise UserError(self._misfit(shape, error)) from error
        self.ema = build_generator(network, shape, self.classes, seed=config.seed, head=modality.head).to(device).eval()
        self.ema.requires_grad_(False)
        self.frozen = transfer.freeze(self.discriminator, config.freeze_d)  # names of D's
        optim = config.optim
        if config.init_sha256 and config.init_map == "name":
            optim = replace(optim, ema_ramp=0.0)  # the average begins with a good one, not to be forgotten soon
        self.optimizers = Optimizers(self.generator, self.discriminator, self.ema, optim, batch_size=config.batch_size)
        self.augmentation = Augmentation(
            config.augment, getattr(modality, "augmentations", Augmentations()), shape,
            seed=config.seed, batch_size=config.batch_size, device=device,
        )  # fmt: skip
        self.seen = 0

    def _misfit(self, shape: tuple[int, ...], error: ValueError) -> str:
        """Why networks cannot make samples of this shape, and which can."""
        family, fit = self.config.network.family, self.modality.families
        if family in fit or family not in FAMILIES.own:
            return str(error)
        units = modalities.making(self.index.codec).units
        return f"--network.family {family} cannot make {units} {list(shape)}: use {' or '.join(fit)}"

    def state_dict(self) -> dict[str, Any]:
        """The content of a checkpoint's state.pt: state dicts by name, ``samples`` seen and ``skipped``."""
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "ema": self.ema.state_dict(),
            "g_optim": self.optimizers.g.state_dict(),
            "d_optim": self.optimizers.d.state_dict(),
            "samples": self.seen,
            "skipped": self.optimizers.skipped,
            "augmentation": self.augmentation.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.ema.load_state_dict(state["ema"])
        self.optimizers.g.load_state_dict(state["g_optim"])
        self.optimizers.d.load_state_dict(state["d_optim"])
        self.optimizers.skipped.copy_(state["skipped"])
        self.augmentation.load_state_dict(state.get("augmentation", {}))
        self.seen = state["samples"]

    def weights_sha256(self) -> str:
        """SHA-256 over all networks' weights."""
        networks = {"g": self.generator, "d": self.discriminator, "ema": self.ema}
        weights = {f"{name}.{key}": v for name, network in networks.items() for key, v in network.state_dict().items()}
        return generator_file.weights_sha256(weights)

    def resume(self, folder: RunFolder | None, world: World) -> tuple[list[str], dict[str, Any] | None]:
        """Load the newest whole checkpoint of a run, if there is one; all workers must call.

        Args:
            folder: the run's folder, on rank 0.
            world: the workers.

        Returns:
            Lines about what was found, and the checkpoint's meta.json; None: there is no checkpoint.

        Raises:
            UserError: the checkpoint is of other data, another configuration, or other plugins.
        """
        notes, where, meta, state = checkpoint.load_newest_for_all(folder and folder.checkpoints, world)
        if state is None:
            return notes, None
        self._check_identity(meta, where)
        self.load_state_dict(state)
        return [*notes, f"continuing from {where}"], meta

    def _check_identity(self, meta: dict[str, Any], where: Any) -> None:
        data = self.index.digest
        if meta["data"] != data:
            raise UserError(
                f"{where} was trained on other data (index {meta['data'][:12]}, not {data[:12]}): "
                "give the --data it was trained on, another --out, or --overwrite"
            )
        saved = settings.of_today(meta["config"], where, meta.get("ragdist"))
        if changed := settings.differences(self.config, saved):
            raise UserError(f"{where} is of another configuration ({'; '.join(changed)}): give --overwrite")
        if changed := identity.differences(self.code, meta):
            raise UserError(
                f"{where} was trained with other code ({'; '.join(changed)}): give that again, another --out, or "
                "--overwrite to start anew"
            )

    def save(self, folder: RunFolder, meta: dict[str, Any]) -> None:
        """Write a checkpoint and the generator file beside it; on rank 0.

        Args:
            folder: the run's folder.
            meta: further facts for meta.json, beside the identity of the run and the samples seen.

        Raises:
            UserError: the disk refuses.
        """
        folder.before_saving()
        mine = {"data": self.index.digest, "config": flat(self.config, free=False), "samples": self.seen, **self.code}
        keep, protected = self.config.checkpoint.keep, folder.protected
        state, last = self.state_dict(), folder.fence
        checkpoint.save(folder.checkpoints, self.seen, state, mine | meta, keep=keep, protected=protected, fence=last)
        self.export(folder)
        folder.saved()

    def export(self, folder: RunFolder) -> None:
        """Write the generator file: the EMA's weights, and D's where asked for.

        Raises:
            UserError: another process has the run.
        """
        folder.fence()
        network = asdict(self.config.network)
        of_d = self.discriminator if self.config.export_d else None
        generator_file.save(folder.generator, self.ema, network, self.index, self.seen, of_d, **self.code)
