"""The measures against independent implementations, on the same features."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdist.metrics import classes, inception_score, kid
from ragdist.metrics.density_coverage import density_coverage
from ragdist.metrics.frechet import frechet_distance, is_rank_deficient
from ragdist.metrics.moments import Moments
from ragdist.metrics.precision_recall import precision_recall
from ragdist.modalities.image import ms_ssim, swd
from ragdist.modalities.image.pyramid import laplacian_pyramid


def gaussian(seed: int, n: int, d: int, *, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    """Correlated features with a mean, as networks have them."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=torch.Generator().manual_seed(99)) / d**0.5
    return (torch.randn(n, d, generator=generator) * scale) @ mix + 0.5 + shift


FAKES, REALS = gaussian(0, 900, 48, shift=0.2, scale=1.2), gaussian(1, 900, 48)


def test_frechet_distance_equals_torch_fidelitys():
    theirs = pytest.importorskip("torch_fidelity.metric_fid")
    statistics = [theirs.fid_features_to_statistics(x.double()) for x in (FAKES, REALS)]
    expected = theirs.fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    assert frechet_distance(Moments.of(FAKES), Moments.of(REALS)) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_has_the_closed_form_of_two_gaussians():
    # Diagonal covariances: sum of (m1 - m2)^2 + (s1 - s2)^2.
    def exact(mean, deviation):
        points = torch.tensor([[-1.0], [1.0]]).double() * deviation + mean
        return Moments.of(points)

    distance = frechet_distance(exact(1.0, 2.0), exact(4.0, 3.0))
    assert distance == pytest.approx(9 + (2 * math.sqrt(2) - 3 * math.sqrt(2)) ** 2)


@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 40))
@settings(max_examples=30)
def test_frechet_distance_of_equal_sets_is_zero_and_a_shift_counts_alone(seed, n, d):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    moments = Moments.of(x)
    assert frechet_distance(moments, moments) <= 1e-6 * (1 + float(moments.covariance().trace()))
    shifted = Moments.of(x + 3.0)
    assert frechet_distance(shifted, moments) == pytest.approx(9.0 * d, rel=1e-5)
    assert frechet_distance(moments, shifted) == pytest.approx(9.0 * d, rel=1e-5)
    assert is_rank_deficient(moments) == (n <= d)


def test_frechet_distance_does_not_change_under_a_rotation():
    rotation = torch.linalg.qr(torch.randn(48, 48, dtype=torch.float64))[0]
    plain = frechet_distance(Moments.of(FAKES), Moments.of(REALS))
    turned = frechet_distance(Moments.of(FAKES.double() @ rotation), Moments.of(REALS.double() @ rotation))
    assert turned == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_moments_of_parts_add_up(parts):
    whole = Moments.of(FAKES)
    added = Moments.zero(48)
    for part in FAKES.chunk(parts):
        added.add(part)
    assert added.count == 900
    torch.testing.assert_close(added.mean(), whole.mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(added.covariance(), whole.covariance(), rtol=1e-9, atol=1e-12)
    expected = np.cov(FAKES.double().numpy(), rowvar=False)
    torch.testing.assert_close(added.covariance(), torch.from_numpy(expected), rtol=1e-9, atol=1e-12)
    distances = [frechet_distance(moments, Moments.of(REALS)) for moments in (added, whole)]
    assert distances[0] == pytest.approx(distances[1], rel=1e-6)


def test_mmd_equals_torch_fidelitys():
    theirs = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = FAKES.double(), REALS.double()
    given = {"kid_subsets": 1, "kid_subset_size": 900, "verbose": False}
    expected = theirs.kid_features_to_metric(a, b, **given)["kernel_inception_distance_mean"]
    assert kid.mmd2(FAKES, REALS) == pytest.approx(expected, abs=1e-9)
    assert kid.kernel_distance(FAKES, REALS, subsets=1).value == pytest.approx(expected, abs=1e-9)
    # Over many random subsets theirs has the same mean as ours over disjoint ones.
    given = {"kid_subsets": 200, "kid_subset_size": 90, "verbose": False}
    mean = theirs.kid_features_to_metric(a, b, **given)["kernel_inception_distance_mean"]
    ours = kid.kernel_distance(FAKES, REALS)
    assert (ours.subsets, ours.fakes, ours.reals) == (10, 90, 90)
    assert abs(ours.value - mean) < 2 * ours.error


def test_the_kernel_distance_is_unbiased_and_its_error_honest():
    found = [kid.kernel_distance(gaussian(2 * i, 400, 8), gaussian(2 * i + 1, 400, 8)) for i in range(40)]
    scores = torch.tensor([k.value / k.error for k in found])
    assert abs(scores.mean()) < 4 / 40**0.5 * 1.3
    assert 0.6 < scores.std() < 1.7
    with pytest.raises(ValueError, match="at least 4"):
        kid.kernel_distance(FAKES[:3], REALS)


def test_precision_and_recall_equal_torch_fidelitys():
    theirs = pytest.importorskip("torch_fidelity.metric_prc")
    ours = precision_recall(FAKES, REALS)
    expected = theirs.prc_features_to_metric(FAKES.double(), REALS.double(), verbose=False)
    assert ours.precision == pytest.approx(expected["precision"], abs=1e-6)
    assert ours.recall == pytest.approx(expected["recall"], abs=1e-6)


@pytest.mark.parametrize("k", [3, 5])
def test_precision_recall_density_coverage_equal_prdcs(k, capsys):
    prdc = pytest.importorskip("prdc")
    expected = prdc.compute_prdc(REALS.double().numpy(), FAKES.double().numpy(), k)
    ours = precision_recall(FAKES, REALS, k)._asdict() | density_coverage(FAKES, REALS, k)._asdict()
    assert ours == pytest.approx(expected, abs=1e-9)


def test_ideal_coverage_and_density():
    found = [density_coverage(gaussian(i, 500, 6), gaussian(1000 + i, 500, 6)) for i in range(10)]
    assert np.mean([f.coverage for f in found]) == pytest.approx(1 - 2**-5, abs=0.01)
    assert np.mean([f.density for f in found]) == pytest.approx(1.0, abs=0.06)


def test_inception_score_equals_torch_fidelitys():
    theirs = pytest.importorskip("torch_fidelity.metric_isc")
    logits = 3 * gaussian(5, 995, 20)
    expected = theirs.isc_features_to_metric(logits, shuffle=False)
    ours = inception_score.inception_score(logits)
    assert ours.value == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert ours.deviation == pytest.approx(expected["inception_score_std"], rel=1e-6)


def test_inception_score_at_its_ends():
    sure = 100 * torch.eye(10).repeat(10, 1)
    assert inception_score.inception_score(sure, splits=5).value == pytest.approx(10)
    assert inception_score.inception_score(torch.zeros(50, 10)).value == pytest.approx(1)


def pictures(seed: int, n: int, side: int, channels: int = 3) -> torch.Tensor:
    small = torch.rand(n, channels, max(side // 4, 2), max(side // 4, 2), generator=torch.Generator().manual_seed(seed))
    large = torch.nn.functional.interpolate(small, (side, side), mode="bilinear")
    return (255 * large).round().byte()


@pytest.mark.parametrize(("side", "scales"), [(16, 1), (32, 2), (64, 3), (192, 5)])
def test_ms_ssim_equals_torchmetrics(side, scales):
    image = pytest.importorskip("torchmetrics.functional.image")
    assert ms_ssim.scales_for(side, side) == scales
    a, b = pictures(0, 4, side).float(), pictures(1, 4, side).float()
    b[0], b[1], b[2] = a[0], 0.8 * a[1] + 0.2 * b[1], 0.5 * a[2] + 0.5 * b[2]
    ours = ms_ssim.ms_ssim(a, b)
    assert ours[0] == pytest.approx(1.0, abs=1e-6)
    # Theirs mirrors images at their edges and counts those places at the last scale; the paper's has whole windows.
    weights = torch.tensor(ms_ssim.WEIGHTS[:scales])
    weights = weights / weights.sum()
    options = {"data_range": 255.0, "reduction": "none"}
    expected = torch.ones(4)
    for scale, weight in enumerate(weights):
        _, pixels = image.structural_similarity_index_measure(a, b, return_full_image=True, **options)
        factor = pixels[..., 5:-5, 5:-5].mean((1, 2, 3))
        if scale < scales - 1:
            _, factor = image.structural_similarity_index_measure(a, b, return_contrast_sensitivity=True, **options)
        expected *= factor.clamp(min=0) ** weight
        a, b = torch.nn.functional.avg_pool2d(a, 2), torch.nn.functional.avg_pool2d(b, 2)
    assert expected[1] < 0.99
    assert expected[1] > 0.1
    assert ours.tolist() == pytest.approx(expected.tolist(), abs=1e-4)


def test_ms_ssim_of_tiny_images_and_of_a_collapse():
    assert ms_ssim.diversity(pictures(0, 20, 8)).scales == 1
    various = ms_ssim.diversity(pictures(0, 200, 16))
    collapsed = ms_ssim.diversity(pictures(0, 2, 16).repeat(100, 1, 1, 1)[::2])
    assert various.value < 0.5
    assert various.pairs == 100
    assert 0 < various.error < 0.1
    assert collapsed.value == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 33, 50), (3, 16, 16), (1, 8, 8)])
def test_the_pyramid_holds_the_whole_image(shape):
    from ragdist.modalities.image import pyramid

    images = torch.rand(2, *shape)
    levels = laplacian_pyramid(images)
    back = levels[-1]
    for level in reversed(levels[:-1]):
        back = level + pyramid._enlarged(back, level.shape[2:])
    torch.testing.assert_close(back, images)


def test_the_pyramid_of_a_constant_is_empty_but_for_its_last_level():
    *fine, last = laplacian_pyramid(torch.full((1, 1, 64, 64), 7.0))
    assert len(fine) == 2
    assert all(level.abs().max() < 1e-4 for level in fine)
    torch.testing.assert_close(last, torch.full((1, 1, 16, 16), 7.0))


def test_sliced_wasserstein_of_a_shift_is_the_shifts_mean_projection():
    x = torch.randn(4000, 3)
    shift = torch.tensor([2.0, 0.0, 0.0])
    # The mean of |cos| over directions in three dimensions is 1/2.
    assert swd.sliced_wasserstein(x + shift, x, directions=512) == pytest.approx(1.0, rel=0.1)
    assert swd.sliced_wasserstein(x.flip(0), x) == pytest.approx(0, abs=1e-6)


def test_pyramid_distances_see_lost_detail_where_it_is_lost():
    a, b = torch.randint(0, 256, (2, 40, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    blurred = torch.nn.functional.avg_pool2d(a.float(), 3, 1, 1).round().byte()
    equal, soft = swd.pyramid_distances(a, b), swd.pyramid_distances(blurred, b)
    assert list(equal) == [64, 32, 16]
    assert soft[64] > 1.5 * equal[64]  # patches are brought to one contrast: what is left is their shape
    assert soft == swd.pyramid_distances(blurred, b)  # no hidden randomness
    assert list(swd.pyramid_distances(a[:, :1, :8, :8], b[:, :1, :8, :8])) == [8]


def test_classes():
    reals = torch.tensor([100, 100, 100, 0])
    fakes = classes.class_counts(torch.tensor([0] * 190 + [1] * 9 + [2] * 1 + [-1] * 5), 4)
    assert fakes.tolist() == [190, 9, 1, 0]
    assert classes.modes_covered(fakes) == 3
    assert classes.modes_covered(fakes, least=9) == 2
    assert classes.fair_modes(fakes, reals) == 2
    p = torch.tensor([0.95, 0.045, 0.005])
    assert classes.kl_to_data(fakes, reals) == pytest.approx(float((p * (3 * p).log()).sum()))
    assert classes.kl_to_data(reals, reals) == 0
    drawn = torch.multinomial(torch.ones(10), 2000, replacement=True, generator=torch.Generator().manual_seed(0))
    assert classes.kl_to_data(classes.class_counts(drawn, 10), torch.ones(10)) < 3 * 9 / 4000
