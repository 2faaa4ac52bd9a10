"""DiME's way: the exact Jacobian of eq. 6, what is recorded of the chain, and the size of its terms."""

import pytest
import torch

from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.counterfactual import trace
from pomelo_lab.generator.base import EvaluationCounter
from pomelo_lab.generator.ddpm import DDPM
from tests.explainer.test_dime import GENERATOR, TINY, binary, dime, explained
from tests.tiny import tiny_batch


def test_the_exact_jacobian_is_the_derivative_of_the_chain():
    """Eq. 6: the transposed Jacobian of the unguided chain, by finite differences."""
    explainer = dime(jacobian="exact")
    k = 4
    noise = [0.1 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(j)) for j in range(k + 1)]
    z, gradient = (
        s * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(i)) for i, s in ((7, 0.2), (8, 1.0))
    )

    def make(at):
        return explainer.unguided.estimate(at, k, lambda j: noise[j]), None

    made, _, back = trace(make, z, True)
    with torch.no_grad():
        ahead, behind = (float((gradient * make(z + sign * 1e-3 * gradient)[0]).double().sum()) for sign in (1, -1))
    assert float((back(gradient) * gradient).sum()) == pytest.approx((ahead - behind) / 2e-3, rel=0.02)
    assert not made.requires_grad and trace(make, z, False)[2] is None


@pytest.mark.parametrize("inner", ["full", "ddim", "tweedie"])
def test_the_published_scale_is_the_exact_jacobian_where_the_noise_does_not_depend_on_the_image(inner):
    """Eqs. 7 and 8 replace the Jacobian by 1 / sqrt(alpha-bar): right for a denoiser that sees the same noise
    everywhere, wrong for another."""
    calm = DDPM(**TINY, prediction="epsilon", schedule="linear")
    for parameter in calm.network.conv_out.parameters():
        parameter.zero_()
    z, gradient = (
        s * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(i)) for i, s in enumerate((0.05, 1.0))
    )

    def apart(generator):
        explainer = dime(generator=generator, inner=inner, jacobian="exact")
        k = 4
        made = (
            explainer.unguided.denoise
            if inner == "tweedie"
            else lambda at, k: (explainer.unguided.estimate(at, k, lambda j: torch.zeros_like(at)), None)
        )
        _, _, back = trace(lambda at: made(at, k), z, True)
        return float((back(gradient) - gradient / explainer.schedule.alphas_cumprod[k] ** 0.5).abs().max())

    assert apart(calm) < 1e-5 < 0.01 < apart(GENERATOR)


def test_the_exact_jacobian_is_another_explanation_and_costs_no_more_evaluations():
    scaled, exact = (explained(dime(jacobian=kind), n=2)[0].counterfactual for kind in ("scaled", "exact"))
    assert float((scaled - exact).abs().max()) > 1e-4
    before, explainer = EvaluationCounter.n, dime(jacobian="exact", inner="tweedie")
    explained(explainer, n=2)
    assert (EvaluationCounter.n - before) / 2 == explainer.cost((3, 8, 8)).evaluations
    with pytest.raises(ValueError, match="explainer.jacobian=exact needs variant=dime or early_stop"):
        dime(jacobian="exact", variant="direct")


def test_what_is_recorded_is_the_way_of_the_try_that_was_kept():
    """Places from the first step to the last; recording changes nothing; norms of a term grow with its weight; no part
    of a batch is special."""
    plain_run, recorded = explained(dime())[0], explained(dime(n_recorded=4))[0]
    assert torch.equal(plain_run.counterfactual, recorded.counterfactual) and "push" not in plain_run.extra
    extra = recorded.extra
    assert extra["place"].tolist() == [[6, 4, 3, 1]] * 3 and extra["push"].shape == (3, 4, 3)
    assert extra["noisy"].dtype == extra["clean"].dtype == torch.uint8 and extra["noisy"].shape == (3, 4, 3, 8, 8)
    image = tiny_batch(3).image
    assert torch.equal(extra["clean"][:, 0], image.mul(255).round().to(torch.uint8))  # at first the image itself
    # where the perceptual term is 0
    assert float(extra["push"][:, 0, 1].abs().max()) == 0 < float(extra["push"][:, 1:, 1].min())
    double = explained(dime(n_recorded=4, lambda_p=60.0))[0].extra
    assert torch.allclose(double["perceptual_share"], 2 * extra["perceptual_share"], rtol=0.2)
    halves = explained(dime(n_recorded=4), batch_size=1)[0].extra
    assert all(
        torch.allclose(halves[name].float(), extra[name].float(), atol=1.0) for name in ("noisy", "clean", "push")
    )
    alone = explained(dime(n_recorded=3, variant="unconditional"), n=2)[0].extra
    assert (
        "perceptual_share" not in alone
        and float(alone["push"].abs().max()) == 0
        and float(alone["clean"].float().std()) > 0
    )


def test_a_perceptual_weight_that_does_nothing_is_told_by_name(caplog):
    box = view(binary(), "white_box", 8)
    image = tiny_batch(1).image
    for options, told in [
        ({"perceptual_unit": "pairs"}, True),
        ({"perceptual_unit": "pairs", "lambda_p": 1000.0}, False),
        ({}, False),
        ({"perceptual_unit": "pairs", "variant": "direct"}, False),
    ]:
        caplog.clear()
        dime(**options).check(box, image)
        assert ("explainer.lambda_p=30 does nothing with explainer.perceptual_unit=pairs" in caplog.text) == told
