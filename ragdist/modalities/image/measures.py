"""Measures of images themselves, and of what Inception sees in them."""

from ragdist.config.evaluation import METRICS
from ragdist.metrics import inception_score
from ragdist.metrics.measure import Figure, Material, Measure, Neighbours, Result
from ragdist.modalities.image import ms_ssim
from ragdist.modalities.image.swd import pyramid_distances

_SWD_IMAGES = 1024  # of fakes, and of reals


def _swd(material: Material, found: Neighbours, result: Result) -> None:
    # Half of the reals stand in for perfect samples: what the distance is between equal distributions.
    count = min(_SWD_IMAGES, len(material.fake_samples), len(material.real_samples) // 2)
    reals, others = material.real_samples[:count], material.real_samples[count : 2 * count]
    values, natural = pyramid_distances(material.fake_samples[:count], reals), pyramid_distances(others, reals)
    for side, value in values.items():
        of = f"pixels at {side}, {count:,} + {count:,}"
        ideal = f"{natural[side]:.3g}"
        result.figures.append(Figure(f"swd_{side}", f"sliced Wasserstein distance at {side}", value, None, ideal, of))


def _ms_ssim(material: Material, found: Neighbours, result: Result) -> None:
    fakes, reals = ms_ssim.diversity(material.fake_samples), ms_ssim.diversity(material.real_samples)
    of = f"pixels, {fakes.pairs:,} pairs, {fakes.scales} of {len(ms_ssim.WEIGHTS)} scales"
    figure = Figure("ms_ssim", "MS-SSIM of pairs", fakes.value, fakes.error, f"{reals.value:.3g}", of)
    result.figures.append(figure)
    result.figures.append(Figure("ms_ssim_data", "MS-SSIM of pairs of the data", reals.value, reals.error, "", of))


def _inception_score(material: Material, found: Neighbours, result: Result) -> None:
    assert material.fakes.logits is not None
    score = inception_score.inception_score(material.fakes.logits)
    of = f"{material.features}, {len(material.fakes.logits):,} in {inception_score.SPLITS} splits"
    result.figures.append(Figure("inception_score", "Inception score", score.value, score.deviation, "more", of))


SWD = Measure(_swd, METRICS["swd"][0], of_samples=True)
MS_SSIM = Measure(_ms_ssim, METRICS["ms_ssim"][0], of_samples=True)
INCEPTION_SCORE = Measure(_inception_score, METRICS["inception_score"][0], features="inception")
