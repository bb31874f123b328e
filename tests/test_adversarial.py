"""The adversarial losses are the formulas, safe at any logit, and their gradient ratio is the quotient."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragdist.objective import ADVERSARIAL
from ragdist.objective.adversarial import LEAST_SLOPE, one_pass_factors, slopes
from ragdist.objective.penalty import input_gradients, squared_norm

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
    assert 0 <= lift.item() <= LEAST_SLOPE


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
