"""A plugin that tests give to commands: a network family, a loss, a pairing, features and a measure."""

import shutil
from pathlib import Path

TEXT = '''"""Networks, a loss, a pairing, features and a measure of a user's own."""

import hashlib

from torch.nn.functional import softplus

from ragdist.metrics import FEATURES, MEASURES
from ragdist.metrics.extractor import Extractor, Features
from ragdist.metrics.measure import Figure, Measure
from ragdist.networks import FAMILIES
from ragdist.networks.mlp import MLPDiscriminator, MLPGenerator
from ragdist.objective import ADVERSARIAL, PAIRINGS
from ragdist.objective.adversarial import Adversarial
from ragdist.objective.pairings import cover


class Generator(MLPGenerator):
    def synthesize(self, code):
        return 0.5 * super().synthesize(code)


def twice(*arguments):
    return tuple(2 * part for part in cover(*arguments))


class Means(Extractor):
    name, sha256, dim, resizing, about = "means", hashlib.sha256(b"means").hexdigest(), 4, "none", {}

    def __call__(self, samples):
        return samples.float().flatten(2).mean(2).repeat(1, 4)[:, :4], None


def brightness(material, found, result):
    value = float((material.fakes.features.mean() - material.reals.features.mean()).abs())
    result.figures.append(Figure("brightness", "difference of brightness", value, None, "less", material.features))


FAMILIES.add("mine", (Generator, MLPDiscriminator))
ADVERSARIAL.add("plain", Adversarial(lambda r, f: softplus(-r) + softplus(f), lambda r, f: -f, False))
PAIRINGS.add("twice", twice)
FEATURES.add("means", Features(lambda source: Means()))
MEASURES.add("brightness", Measure(brightness, best={"brightness": "less"}))
'''
CHOICES = ["--network.family=mine", "--objective.adversarial=plain", "--objective.pairing=twice"]
# As the first process has read it the file goes: all others have what it said from that process.
GOES = TEXT + "\n__import__('pathlib').Path(__file__).unlink(missing_ok=True)\n"


def write(folder: Path, text: str = TEXT, name: str = "my.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def install(folder: Path, version: str = "1.2") -> None:
    """Install the package "toys", with a row for each table but that of pairings, in a folder of `sys.path`."""
    (folder / "toys.py").write_text(
        "from ragdist.evaluation.measures import KID\n"
        "from ragdist.modalities.image import judging, making\n"
        "from ragdist.modalities.image import training as images\n"
        "from ragdist.modalities.image.features import PIXELS\n"
        "from ragdist.networks.heads import tanh\n"
        "from ragdist.networks.mlp import FAMILY\n"
        "from ragdist.objective.adversarial import NONSATURATING\n"
        "class training:\n    head = 'toy_tanh'\n"
        "for name in ('families', *filter(lambda name: callable(getattr(images, name)), vars(images))):\n"
        "    setattr(training, name, getattr(images, name))\n"
    )
    for old in folder.glob("toys-*.dist-info"):
        shutil.rmtree(old)
    _install(
        folder,
        "toys",
        version,
        "[ragdist.networks]\ntoy = toys:FAMILY\nbroken = toys:NOTHING\n\n"
        "[ragdist.losses]\ntoy_loss = toys:NONSATURATING\n\n"
        "[ragdist.modalities]\ntoy_image = toys\n\n[ragdist.heads]\ntoy_tanh = toys:tanh\n\n"
        "[ragdist.features]\ntoy_pixels = toys:PIXELS\n\n[ragdist.measures]\ntoy_kid = toys:KID\n",
    )


def _install(folder: Path, name: str, version: str, entry_points: str) -> None:
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(entry_points)


def install_misfits(folder: Path) -> None:
    """Install the package "misfits", whose rows can be imported and are none, in a folder of `sys.path`."""
    (folder / "misfits.py").write_text(
        "NUMBER = 3\nclass Hollow:\n    class making:\n        units = unit = 'x'\n    class judging:\n        pass\n"
    )
    _install(
        folder,
        "misfits",
        "0.2",
        "[ragdist.modalities]\nhollow = misfits:Hollow\n\n"
        "[ragdist.features]\nfew = misfits:NUMBER\n\n[ragdist.measures]\nnum = misfits:NUMBER\n",
    )


def install_broken(folder: Path) -> None:
    """Install the package "wrecks", none of whose rows can be imported, in a folder of `sys.path`."""
    (folder / "wrecks.py").write_text("raise RuntimeError('its library\\nis of another version')\n")
    (folder / "hull").mkdir()
    (folder / "hull/__init__.py").touch()  # what it lacks are its faces
    _install(
        folder,
        "wrecks",
        "0.1",
        "[ragdist.modalities]\nwreck = wrecks\nhull = hull\n\n"
        "[ragdist.features]\nsunk = wrecks:SUNK\n\n[ragdist.measures]\ndepth = wrecks:DEPTH\n",
    )
