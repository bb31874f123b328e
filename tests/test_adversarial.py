"""The adversarial losses are the formulas, safe at any logit, and their gradient ratio is the quotient."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragdist.objective import ADVERSARIAL
from ragdist.objective.adversarial import LEAST_SLOPE, one_pass_factors, slopes
from ragdist.objective.penalty import distance_to_slope_one, input_gradients, interpolates, squared_norm

logits = st.floats(-15, 15)


@given(logits, logits)
def test_original_is_the_text(r, f):
    r, f = torch.tensor(r, dtype=torch.float64), torch.tensor(f, dtype=torch.float64)
    game = ADVERSARIAL["original"]
    dx, dg = torch.sigmoid(r), torch.sigmoid(f)
    assert game.d_loss(r, f).item() == pytest.approx((-dx.log() - (1 - dg).log()).item(), rel=1e-6)
    assert game.g_loss(r, f).item() == pytest.approx(-dg.item())
    assert ADVERSARIAL["nonsaturating"].g_loss(r, f).item() == pytest.approx(-dg.log().item(), rel=1e-6)


@pytest.mark.parametrize("name", ADVERSARIAL)
@given(logits, logits)
def test_the_slopes_and_their_ratio(name, r, f):
    """Against derivatives in float64."""
    adversarial = ADVERSARIAL[name]
    r = torch.tensor([r], dtype=torch.float64)
    f = torch.tensor([f], dtype=torch.float64, requires_grad=True)
    (d,) = torch.autograd.grad(adversarial.d_loss(r, f).sum(), f)
    (g,) = torch.autograd.grad(adversarial.g_loss(r, f).sum(), f)
    found_d, found_g = slopes(adversarial, r, f.detach())
    assert found_d.item() == pytest.approx(d.item(), rel=1e-4, abs=1e-13)
    assert found_g.item() == pytest.approx(g.item(), rel=1e-4, abs=1e-13)
    lift, ratio = one_pass_factors(adversarial, r, f.detach())
    assert ratio.item() * (found_d + lift).item() == pytest.approx(g.item(), rel=1e-4, abs=1e-13)
    assert 0 <= lift.item() <= 2 * LEAST_SLOPE
    assert lift.item() == 0 or abs(found_d.item()) < LEAST_SLOPE


def test_the_formulas_of_hinge_least_squares_and_wasserstein():
    r, f = torch.tensor([-2.0, 0.25, 3.0]), torch.tensor([-3.0, 0.5, 2.0])
    expected = {
        "hinge": ([3.0, 2.25, 3.0], [3.0, -0.5, -2.0]),
        "least_squares": ([9.0, 0.40625, 4.0], [8.0, 0.125, 0.5]),
        "wasserstein": ([-1.0, 0.25, -1.0], [3.0, -0.5, -2.0]),
    }
    for name, losses in expected.items():
        adversarial = ADVERSARIAL[name]
        assert (adversarial.d_loss(r, f).tolist(), adversarial.g_loss(r, f).tolist()) == losses


@pytest.mark.parametrize(("name", "f"), [("hinge", -3.0), ("least_squares", 0.0), ("least_squares", -1e-13)])
def test_a_fake_without_a_gradient_of_d_has_its_gradient_of_g(name, f):
    """0 / 0 in the quotient of the slopes."""
    adversarial, f = ADVERSARIAL[name], torch.tensor([f])
    d, g = slopes(adversarial, torch.zeros(1), f)
    lift, ratio = one_pass_factors(adversarial, torch.zeros(1), f)
    assert abs(d.item()) < LEAST_SLOPE
    assert (d + lift).item() == pytest.approx(LEAST_SLOPE)
    assert ((d + lift) * ratio).item() == pytest.approx(g.item()) == -1


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_finite_and_right_at_any_logit(name):
    adversarial = ADVERSARIAL[name]
    r, f = (x.flatten() for x in torch.meshgrid(*[torch.tensor([-1e4, -90.0, 0.0, 90.0, 1e4])] * 2, indexing="ij"))
    d, g = slopes(adversarial, r, f)
    lift, ratio = one_pass_factors(adversarial, r, f)
    for value in (adversarial.d_loss(r, f), adversarial.g_loss(r, f), d, g, lift, ratio):
        assert torch.isfinite(value).all()
    torch.testing.assert_close((d + lift) * ratio, g)
    assert (g < 0).any()


def test_penalty_is_the_squared_gradient():
    x, y = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    d = lambda v: (v**3).sum(1)  # noqa: E731
    gx, gy = input_gradients(torch.cat([d(x), d(y)]), [x, y])
    torch.testing.assert_close(squared_norm(gx), (3 * x**2).square().sum(1))
    torch.testing.assert_close(gy, 3 * y**2)
    assert gx.requires_grad


def test_interpolates_lie_between_the_fake_and_the_real_of_a_slot():
    real, fake = torch.ones(3, 2, 4), torch.zeros(3, 2, 4, requires_grad=True)
    between = interpolates(real, fake, torch.tensor([0.0, 0.25, 0.75]))
    assert between.is_leaf
    assert between.requires_grad
    assert [each.unique().tolist() for each in between.detach()] == [[0.0], [0.25], [0.75]]


def test_the_penalty_between_is_two_sided_and_smooth_at_a_flat_d():
    gradient = torch.tensor([[0.6, 0.8], [3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], requires_grad=True)
    value = distance_to_slope_one(gradient)
    torch.testing.assert_close(value, torch.tensor([0.0, 16.0, 0.25, 1.0]), atol=1e-5, rtol=1e-5)
    (slope,) = torch.autograd.grad(value.sum(), gradient)
    assert torch.isfinite(slope).all()
    assert slope[3].abs().max() == 0
