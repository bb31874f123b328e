"""Every option of a run: one tree of dataclasses, one described line an option.

An option that is not ``free`` decides the run's weights; limits stand beside the default, and what one option asks of
another in `settings.check`. Time is counted in samples seen.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from ragdist.config.option import common, free, option
from ragdist.networks import FAMILIES
from ragdist.objective import ADVERSARIAL, PAIRINGS


@dataclass
class DataOptions:
    """Training data: WebDataset shards with an index, in an order that is a function of the seed."""

    path: str = free("shards/digits")
    """folder of shards, or its URL (http://, s3://, gs://, ...); `--data WHERE` is short for it"""
    source: str = free("")
    """what to make the shards from on first use, as `python -m ragdist.shards SOURCE` takes it; empty, and with
    --data on the command line: nothing"""
    source_size: int = free(0, at_least=0, at_most=2**15)
    """the samples' side when they are made from the source, as --size of `ragdist.shards`; 0: as they are"""
    source_options: str = free("")
    """how the samples are made from the source: options of `python -m ragdist.shards`, as '--rate 8000 --seconds 1'"""
    lanes: int = option(8, at_least=1)
    """contiguous parts of the data that are read side by side"""
    window: int = option(16_384, at_least=1)
    """samples of a lane that are shuffled together"""
    loader_workers: int = free(1, common=True, at_least=0)
    """processes that read and decode; 0: the training process itself"""
    prefetch: int = free(4, at_least=1)
    """batches that each of them keeps ready"""
    cache: str = free("~/.cache/ragdist/fetched")
    """folder for shards that are fetched from a URL; may be shared by processes and hosts"""
    cache_gb: float = free(100.0, above=0)
    """most gigabytes that are kept there"""
    max_bad: float = free(0.001, at_least=0, at_most=1)
    """share of the samples that may turn out to be unreadable, and are replaced, before the run stops"""
    crop_padding: int = option(0, at_least=0)
    """augmentation of the reals: pad by so many pixels (mirrored) and crop at random; 0: off"""
    flip: bool = common(False)
    """mirror the reals left and right at random"""


@dataclass
class NetworkOptions:
    """Generator and discriminator."""

    family: str = common("resnet", of=FAMILIES)
    """mlp: fully connected, any samples; for images dcgan: strided convolutions, resnet: residual ones; for clips
    strided wavegan, spectral: residual, over spectra; for texts and trajectories resnet1d"""
    z_dim: int = option(64, at_least=1)
    """length of the latent z"""
    g_width: int = common(64, at_least=1)
    """G's channels at the full size, doubled at each halving (mlp: its widest layer)"""
    d_width: int = common(64, at_least=1)
    """D's channels at the full size, doubled at each halving (mlp: its widest layer)"""
    max_width: int = option(512, at_least=1)
    """most channels at any size (all but mlp)"""
    blocks: int = option(1, at_least=1)
    """residual blocks at each size (all resnets, spectral)"""
    expand: int = option(2, at_least=1)
    """inner channels of a block, as a multiple of its width (all resnets, spectral)"""
    group_width: int = option(16, at_least=1)
    """channels of a group of the convolutions in blocks (all resnets, spectral)"""
    window: int = option(0, at_least=0)
    """samples of a frame of G's and D's spectra, a power of two; 0: a 32nd of a clip, up to 2048 (spectral)"""
    depth: int = option(3, at_least=1)
    """hidden layers (mlp)"""
    head: str = ""
    """what makes samples of G's last layer: tanh, identity, softmax, straight_through; empty: what suits the data"""
    codes: int = option(0, at_least=0)
    """values of a discrete latent beside z, for data of separate kinds, between which a continuous G passes; 0: none"""
    labels: bool = common(False)
    """condition G and D on the labels"""


@dataclass
class ObjectiveOptions:
    """Losses of G and D."""

    adversarial: str = common("relativistic", of=ADVERSARIAL)
    """relativistic: pairs of a real and a fake; original: the method's text; wasserstein wants gp; or usual ones"""
    lam: float = common(1.0, at_least=0)
    """weight of the relative term; 0: off"""
    lam_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """how that weight goes to zero over lam_samples"""
    lam_samples: int = 0
    """samples after which it is zero (linear, cosine)"""
    pairing: str = common("cover", of=PAIRINGS)
    """who is compared: each real and its nearest fake, each fake and its nearest real, any two, one to one, all"""
    relative: bool = True
    """subtract the same term between fakes, so that it vanishes where fakes are distributed as the data are"""
    p: Literal[1, 2] = 1
    """power of the Euclidean distance"""
    space: Literal["points", "feature"] = "points"
    """points: measure between samples, as their modality says; feature: between D's last hidden layers"""
    pool: int = option(32, at_least=1)
    """samples are averaged down to at most so many values an axis, clips' spectra to so many frames, before they are
    compared"""
    group: int = option(32, at_least=2)
    """slots that are compared with each other (the largest divisor of the batch up to this)"""
    r1: float | Literal["auto"] = common(0.1, at_least=0, says="0 or more, or auto")
    """weight of R1, the gradient penalty at reals; 0: off; auto: as the data's spread asks"""
    r2: float | Literal["auto"] = common(0.1, at_least=0, says="0 or more, or auto")
    """weight of R2, the gradient penalty at the fakes; 0: off; auto: likewise"""
    gp: float = option(0.0, at_least=0)
    """weight of WGAN-GP's gradient penalty, for a slope of 1 between reals and fakes, 10 in the paper; wants
    penalty_every 1; 0: off"""
    penalty_every: int = option(8, at_least=1)
    """updates from one computation of the penalties to the next, where they count so many times"""

    @property
    def at_samples(self) -> bool:
        """Whether D's gradients at reals and fakes are penalized, by R1 or R2."""
        return any(weight == "auto" or weight > 0 for weight in (self.r1, self.r2))

    @property
    def penalized(self) -> bool:
        """Whether any of D's gradients are."""
        return self.at_samples or self.gp > 0


@dataclass
class AugmentOptions:
    """Augmentation: random transforms of what D sees, of reals and fakes alike."""

    transforms: str = ""
    """diffaugment, ada, or names as color,translation,cutout; empty: none; `--augment NAMES` is short for it"""
    p: float = option(1.0, above=0, at_most=1)
    """strength: the probability of each transform; the most that a schedule comes to"""
    schedule: Literal["auto", "fixed", "linear", "cosine", "adaptive"] = "auto"
    """fixed; linear, cosine: from zero to p; adaptive: p follows how well D tells reals from fakes; auto: adaptive for
    ada, else fixed"""
    samples: int = option(50_000, at_least=1)
    """samples over which it rises (linear, cosine), or within which an adaptive one can go from 0 to 1"""
    target: float = option(0.9, above=0.5, below=1)
    """share of pairs of a real and a fake in which D prefers the real that an adaptive strength aims at"""


@dataclass
class OptimOptions:
    """Optimizers, schedules and the moving average."""

    update: Literal["one_pass", "alternating"] = "one_pass"
    """both networks from one pass, or D and then G (the reference)"""
    g_lr: float = common(2e-4, above=0)
    """G's learning rate (Adam)"""
    d_lr: float = common(2e-4, above=0)
    """D's learning rate (Adam)"""
    beta1: float = option(0.0, at_least=0, below=1)
    """Adam's decay of the first moment"""
    beta2: float = option(0.99, at_least=0, below=1)
    """Adam's decay of the second moment"""
    warmup_samples: int = option(0, at_least=0)
    """samples over which both rates rise from zero"""
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """how both rates go to zero over lr_samples"""
    lr_samples: int = 0
    """samples after which they are zero (linear, cosine)"""
    ema_samples: int = option(20_000, at_least=0)
    """half-life of G's moving average"""
    ema_ramp: float = option(0.05, at_least=0)
    """at the start the half-life is at most this share of the samples seen, but where it starts from init_from's"""
    micro_batch: int = free(0, common=True, at_least=0)
    """most slots computed at a time, to save memory; 0: a logical worker's, on a CPU some 64"""
    max_skipped: int = free(100, at_least=0)
    """updates that may be skipped because a loss or gradient is not finite before the run stops"""


@dataclass
class CheckpointOptions:
    """Checkpoints of a run."""

    every: int = free(50_000, common=True, at_least=1)
    """samples from one checkpoint to the next; one is also written at the end and on Ctrl-C"""
    keep: int = free(3, at_least=1)
    """checkpoints kept; older ones are deleted"""


@dataclass
class EvaluateInRunOptions:
    """How the EMA generator is judged on the way, with --evaluate_every. None of it changes the weights."""

    samples: int = free(2_000, at_least=1)
    """samples to judge; as --samples of `ragdist.evaluate`, and so are the next ones"""
    reals: int = free(50_000, at_least=0)
    """training samples to judge them by; 0: all"""
    neighbours: int = free(10_000, at_least=1)
    """most samples, and as many reals, that measures of neighbours take"""
    seed: int = free(0, at_least=0)
    """seed of the latents"""
    features: str = free("auto")
    """what is compared"""
    metrics: str = free("cheap")
    """measures, separated by commas; cheap: those that take seconds; all"""
    inception_weights: str = free("")
    """file of torch-fidelity's InceptionV3 weights; on every node"""
    cache: str = free("~/.cache/ragdist")
    """folder for what is computed once: the reals' features, a classifier that the data's folder has no room for"""
    best: str = free("frechet_distance")
    """figure by which the best generator is kept: best.safetensors, and its checkpoint"""
    share: float = free(0.02, above=0, at_most=1)
    """most of the training's time that evaluations take: they are made in steps between updates; 1: at once"""


@dataclass
class MonitorOptions:
    """Progress, metrics and sample grids."""

    seconds: float = free(5.0, above=0)
    """seconds from one reading of the metrics to the next"""
    grid_every: int = free(0, at_least=0)
    """samples from one sample grid to the next; 0: a twentieth of the run"""
    tensorboard: bool = free(True)
    """write TensorBoard events"""
    wandb: str = free("", common=True)
    """project to log to at Weights & Biases as well; empty: none"""


@dataclass
class Config:
    """The configuration of a run."""

    data: DataOptions = field(default_factory=DataOptions)
    out: str = free("", common=True)
    """folder of the run; started again it continues. Empty: runs/ and the config's name"""
    samples: int = free(1_000_000, common=True, at_least=1)
    """samples to train on, also called --images; a finished run is extended by a larger number"""
    evaluate_every: int = free(0, common=True, at_least=0, says="0 (off) or more")
    """samples from one evaluation of the EMA generator to the next, and one at the end; 0: none"""
    batch_size: int = common(64, at_least=2)
    """global batch: reals, and fakes, of one update over all workers"""
    seed: int = common(0, at_least=0, below=2**63, says="from 0 to 2^63 - 1")
    """seed of everything that is random"""
    init_from: str = free("", common=True)
    """run, generator file or URL to start from: its G, D and average, with --init_map and --freeze_d"""
    init_map: Literal["name", "grow"] = "name"
    """name: what is called alike and has its shape; grow: from samples of another size, what works at an equal size"""
    init_sha256: str = ""
    """SHA-256 of the weights that init_from names, found when a run starts: others are refused"""
    freeze_d: int = option(0, at_least=0)
    """D's stages nearest the input that stay as init_from has them (FreezeD)"""
    logical_workers: int = option(0, at_least=0)
    """equal parts of the batch, a thread each on a CPU, on as many workers at most; weights depend on their number, and
    not on that of workers and threads; 0: the largest divisor of the number of pairing groups up to 8"""
    workers: str = free("auto", common=True)
    """0: this process; 4: so many Ray workers; 2:8: elastic; auto: as many as a Ray cluster has room for where there
    is one (a Ray job, or RAY_ADDRESS), else 0"""
    gpus_per_worker: int = free(-1, at_least=-1, at_most=1, says="1, 0 or -1 (one where the cluster has any)")
    """GPUs of a Ray worker, one or none; -1: one where the cluster has any"""
    cpus_per_worker: int = free(0, at_least=0, says="0 (a share of the node) or more")
    """processor cores of a Ray worker; 0: its share of a node"""
    max_failures: int = free(3, at_least=0)
    """restarts in a row, without progress between them, before a run on Ray workers gives up"""
    collective_timeout: float = free(120.0, at_least=1)
    """seconds after which a worker that does not answer the others counts as dead"""
    start_timeout: float = free(300.0, at_least=1)
    """seconds within which all Ray workers must have started, before others are tried"""
    precision: Literal["fp32", "tf32", "bf16"] = common("fp32")
    """fp32; tf32: convolutions on a GPU round factors to 10 bits of mantissa, elsewhere fp32; bf16: networks under
    bfloat16 autocast"""
    compile: bool = free(False)
    """have torch.compile make the networks' kernels first, which takes a while: penalties still run without"""
    device: str = free("auto", common=True)
    """cpu, cuda, cuda:1, ...; auto: a GPU where there is one"""
    deterministic: bool = free(True)
    """on a GPU use only kernels that give the same bits every time"""
    plugin: str = free("")
    """Python files, separated by commas, that add networks, losses, pairings, measures or modalities of your own"""
    export_d: bool = free(False)
    """write D's weights to generator.safetensors, too, for runs that start from that file"""
    network: NetworkOptions = field(default_factory=NetworkOptions)
    objective: ObjectiveOptions = field(default_factory=ObjectiveOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    optim: OptimOptions = field(default_factory=OptimOptions)
    checkpoint: CheckpointOptions = field(default_factory=CheckpointOptions)
    evaluate: EvaluateInRunOptions = field(default_factory=EvaluateInRunOptions)
    monitor: MonitorOptions = field(default_factory=MonitorOptions)

    @property
    def kernels(self) -> dict[str, bool]:
        """Kernels that a GPU may use: the keyword arguments of `world.pick_device`."""
        return {"deterministic": self.deterministic, "tf32": self.precision == "tf32"}


def flat(options: Any, prefix: str = "", *, free: bool = True) -> dict[str, Any]:
    """The options as {"objective.lam": 1.0, ...}; without the free ones where ``free`` is False."""
    found = {}
    for item in dataclasses.fields(options):
        value, name = getattr(options, item.name), f"{prefix}{item.name}"
        if dataclasses.is_dataclass(value):
            found |= flat(value, f"{name}.", free=free)
        elif free or not item.metadata.get("free"):
            found[name] = value
    return found
