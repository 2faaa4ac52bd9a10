from dataclasses import dataclass, field

import pytest
import torch

from pomelo_lab.explainer.convergence import still_moving
from pomelo_lab.explainer.fisher_sde import FisherSDEExplainer
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.diffusion import split_output
from pomelo_lab.generator.sde import VP
from tests.explainer.removing import explained, same_alone_and_in_any_batch
from tests.tiny import TINY_UNET, TinyLinear, batch_of, tiny_batch

TINY = {**TINY_UNET, "n_timesteps": 200}


@dataclass(kw_only=True)
class GaussianModel(DDPM):
    """The exact denoiser of images that are N(0, covariance) in [-1,1]'s scale."""

    covariance: torch.Tensor = field(default=None)  # [D,D]

    def denoise(self, x, t):
        level = self.alphas_cumprod[t].view(-1, 1, 1)
        eye = torch.eye(len(self.covariance), dtype=torch.float64)
        flat = x.double().flatten(1)[..., None]
        noise = (1 - level).sqrt() * torch.linalg.solve(level * self.covariance + (1 - level) * eye, flat)
        return split_output(noise.view_as(x).float(), x, level[..., None], "epsilon")


def gaussian_model(side=4, correlation=0.8, variance=0.25, n_timesteps=1000):
    place = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1).view(-1, 2).double()
    covariance = variance * correlation ** torch.cdist(place, place, p=1)
    model = GaussianModel(
        channels=1,
        size_px=side,
        unshuffle=1,
        widths=[4],
        attention=[],
        head_dim=4,
        norm_groups=4,
        n_timesteps=n_timesteps,
    )
    model.covariance = covariance
    return model, covariance


def explainer(**options):
    options = {"n_steps": 6, "n_draws": 3, "n_levels": 9, "n_curve_draws": 2, **options}
    return FisherSDEExplainer(generator=options.pop("generator", None) or DDPM(**TINY), **options)


def test_the_sum_over_pixels_is_the_information_of_a_correlated_gaussian_image():
    """Sum of A_i at one time for all pixels = 1/2 logdet(I + SNR Sigma), over images of the distribution."""
    model, covariance = gaussian_model()
    n = 400
    root = torch.linalg.cholesky(covariance)
    clean = torch.randn(n, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) @ root.T
    batch = batch_of((clean.view(n, 1, 4, 4).float() + 1) / 2)
    explanation, _ = explained(
        explainer(generator=model, n_steps=0, init=-1.0, n_levels=65, n_curve_draws=4),
        batch,
        torch.zeros(n, dtype=torch.long),
        TinyLinear.random(2, (1, 4, 4)),
    )
    time = explanation.extra["time"].double()
    assert time.std() < 1e-6
    snr = VP().log_snr(time[0, 0, 0]).exp()
    exact = 0.5 * torch.logdet(torch.eye(16, dtype=torch.float64) + snr * covariance)
    assert abs(explanation.attribution.double().sum((1, 2)).mean() / exact - 1) < 0.02


def test_the_pixel_that_the_classifier_reads_stays_clean_and_gets_the_most():
    weight = torch.zeros(2, 1, 4, 4)
    weight[0, 0, 1, 2], weight[1, 0, 1, 2] = -40.0, 40.0
    classifier = TinyLinear(weight=weight, bias=torch.tensor([20.0, -20.0]))
    model, _ = gaussian_model(correlation=0.0)
    image = torch.full((1, 1, 4, 4), 0.8)
    explanation, _ = explained(
        explainer(generator=model, n_steps=150, n_draws=8, n_levels=33), batch_of(image), torch.tensor([1]), classifier
    )
    time = explanation.extra["time"][0]
    others = torch.ones(4, 4, dtype=torch.bool)
    others[1, 2] = False
    assert time[1, 2] < 0.15 and (time[others] > 0.95).all()
    assert explanation.attribution[0].flatten().argmax() == 1 * 4 + 2
    assert explanation.attribution[0, 1, 2] > 10 * explanation.attribution[0][others].abs().max()
    assert explanation.extra["noise_class"].item() in (0.0, 1.0) and explanation.extra["cross_entropy"].item() < 0.5


def test_batched_is_one_by_one():
    generator = DDPM(**TINY)
    same_alone_and_in_any_batch(lambda: explainer(generator=generator))


def test_readings_come_from_one_stored_explanation():
    explanation, _ = explained(explainer())
    retained, printed, times = (
        explainer(reading=name).postprocess(explanation).attribution for name in ("retained", "eq49", "one_minus_t")
    )
    torch.testing.assert_close(retained, explanation.attribution)
    torch.testing.assert_close(times, 1 - explanation.extra["time"])
    assert (printed <= 0).all() and (retained >= 0).all()
    whole = explanation.extra["curve"][:, -1]
    # kept + lost = all there is
    torch.testing.assert_close((retained - printed).sum((1, 2)), whole, rtol=1e-3, atol=1e-3)


def test_information_is_not_increasing_in_time_and_vanishes_at_one():
    curve = explained(explainer())[0].extra["curve"]
    assert (curve.diff(dim=1) >= 0).all() and (curve[:, 0] == 0).all()
    at_one, _ = explained(explainer(n_steps=0, init=30.0))
    torch.testing.assert_close(at_one.attribution, torch.zeros_like(at_one.attribution), atol=1e-4, rtol=0)


def test_shared_cells_share_their_time_and_smoothing_keeps_the_range():
    time = explained(explainer(cell_px=4, lr=1.0))[0].extra["time"]
    assert (
        all(len(time[0, i : i + 4, j : j + 4].unique()) == 1 for i in (0, 4) for j in (0, 4))
        and len(time[0].unique()) == 4
    )
    smooth = explained(explainer(sigma_px=1.0, lr=1.0))[0].extra["time"]
    assert (smooth >= 1e-3).all() and (smooth <= 1).all()
    assert smooth.diff(dim=2).abs().mean() < explained(explainer(lr=1.0))[0].extra["time"].diff(dim=2).abs().mean()


def test_an_image_of_the_class_of_pure_noise_is_named():
    """A classifier that says 1 whatever it sees."""
    classifier = TinyLinear(weight=torch.zeros(3, 3, 8, 8), bias=torch.tensor([0.0, 9.0, 0.0]))
    explanation, _ = explained(explainer(), classifier=classifier)
    assert explanation.extra["noise_class"].tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("options", [{"process": "ve"}, {"per_channel": True}, {"clamp": True}], ids=str)
def test_other_settings_run(options):
    explanation, _ = explained(explainer(**options))
    assert explanation.attribution.shape == (3, 8, 8) and explanation.attribution.isfinite().all()


def test_the_record_of_the_optimiser_is_the_objective_that_it_descends():
    explanation, _ = explained(explainer(n_steps=30, lr=0.5, weight=2.0))
    loss, times = explanation.extra["loss"], explanation.extra["mean_times"]
    assert loss.shape == times.shape == (3, 30) and (loss[:, -1] < loss[:, 0]).all()
    # loss = cross-entropy - weight * mean time
    torch.testing.assert_close((loss + 2.0 * times)[:, -1], explanation.extra["cross_entropy"])
    torch.testing.assert_close(times[:, 0], torch.full((3,), 1e-3 + 0.999 * torch.tensor(-5.0).sigmoid().item()))
    torch.testing.assert_close(explanation.extra["moving"], still_moving(loss))
    torch.testing.assert_close(explanation.extra["objective"], loss[:, -3:].mean(1))
    # the same at the paper's weight of 1
    torch.testing.assert_close(explanation.extra["eq33"], (loss + times)[:, -3:].mean(1))


def test_times_that_matter_to_nobody_arrive_and_their_record_says_so():
    """A classifier that is sure whatever it sees: the optimum is t = 1 everywhere, where nothing is retained."""
    classifier = TinyLinear(weight=torch.zeros(2, 3, 8, 8), bias=torch.tensor([20.0, -20.0]))
    target = torch.zeros(3, dtype=torch.long)
    short, long = (
        explained(explainer(n_steps=n, lr=0.1), target=target, classifier=classifier)[0].extra for n in (50, 600)
    )
    assert (short["moving"] > 0.02).all() and (long["moving"] < 0.02).all()
    assert (short["mean_time"] < 0.9).all() and (long["mean_time"] > 0.99).all()


def test_the_weight_falls_to_its_own_value_and_stays():
    falling = explainer(weight=1.0, start_weight=16.0, anneal=0.5, n_steps=40)
    assert [falling.weight_at(k) for k in (0, 5, 10, 20, 39)] == pytest.approx([16.0, 8.0, 4.0, 1.0, 1.0])
    assert explainer(weight=50.0, start_weight=16.0, n_steps=40).weight_at(0) == 50.0
    assert explainer(weight=2.0, start_weight=16.0, anneal=0.0, n_steps=40).weight_at(0) == 2.0


@pytest.mark.slow
def test_annealing_reaches_the_same_optimum_sooner():
    """One pixel that the classifier reads, under noise: the paper's objective after 100 steps, with and without the
    falling weight."""
    weight = torch.zeros(2, 1, 4, 4)
    weight[0, 0, 1, 2], weight[1, 0, 1, 2] = -40.0, 40.0
    classifier = TinyLinear(weight=weight, bias=torch.tensor([20.0, -20.0]))
    image, target = batch_of(torch.full((1, 1, 4, 4), 0.8)), torch.tensor([1])

    def end(**options):
        alone = FisherSDEExplainer(reading="one_minus_t", n_draws=8, weight=1.0, **options)
        return float(explained(alone, image, target, classifier)[0].extra["eq33"])

    assert end(n_steps=100) < end(n_steps=100, anneal=0.0, lr=0.1)
    assert abs(end(n_steps=400) / end(n_steps=4000) - 1) < 0.02


def test_one_minus_t_asks_no_denoiser_and_gives_the_map_of_the_whole_method():
    alone, _ = explained(FisherSDEExplainer(reading="one_minus_t", n_steps=6, n_draws=3))
    whole, _ = explained(explainer(n_steps=6, n_draws=3))
    torch.testing.assert_close(alone.attribution, 1 - whole.extra["time"])
    torch.testing.assert_close(alone.attribution, explainer(reading="one_minus_t").postprocess(whole).attribution)
    assert (
        FisherSDEExplainer(reading="one_minus_t").cost((3, 8, 8)).evaluations == 0 and "information" not in alone.extra
    )


@pytest.mark.parametrize("reading", ["retained", "eq49"])
def test_readings_in_nats_need_a_denoiser(reading):
    with pytest.raises(
        ValueError, match=f"explainer.generator is missing: expected a DDPM, whose errors reading={reading} integrates"
    ):
        FisherSDEExplainer(reading=reading)


def test_a_denoiser_of_another_resolution_is_refused():
    with pytest.raises(ValueError, match="made for images of 3x16x16, got 3x8x8"):
        explained(explainer(generator=DDPM(**{**TINY, "size_px": 16})), tiny_batch(3))
