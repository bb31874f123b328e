"""The options of scoring outliers; a file of its own, so that --help need not import PyTorch."""

from dataclasses import dataclass

from ragdist.config.option import common, option


@dataclass
class OutlierOptions:
    """Options of scoring how unlike the training data samples are."""

    outlier_labels: str = common("")
    """classes of DATA that are outliers, by name, separated by commas; all others are normal"""
    normal_labels: str = common("")
    """classes of DATA that are normal; all others are outliers"""
    invert: int = common(0, at_least=0)
    """steps of Adam on each sample's latent, for the residual that G cannot make, as 100; 0: none"""
    samples: int = common(10_000, at_least=1)
    """generated samples of which the nearest is sought"""
    seed: int = option(0, at_least=0)
    """seed of their latents"""
    rate: float = option(0.05, above=0)
    """Adam's rate on the latents"""
    train: str = common("")
    """training data, for the distances in pixels beside which scores are printed; empty: the run's own, where they are
    there; none"""
    reals: int = option(50_000, at_least=1)
    """most training samples of which the nearest is sought, drawn at random where there are more"""
    shown: int = option(16, at_least=1)
    """samples at either end that the page shows"""
    out: str = common("")
    """folder for outliers.csv, outliers.json and outliers.html; empty: the run, else NAME-outliers"""
    batch: int = option(256, at_least=1)
    """samples computed at a time"""
    device: str = common("auto")
    """cpu, cuda, ...; auto: a GPU if there is any"""
    plugin: str = ""
    """Python files, separated by commas, with networks or modalities of your own; empty: the run's"""
    cache: str = "~/.cache/ragdist/fetched"
    """folder for shards that are fetched from a URL"""
