import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.meaningful_perturbation import MeaningfulPerturbationExplainer, translate
from pomelo_lab.explainer.removal import enlarge
from tests.explainer.removing import TARGET, ByMask, black, explained, same_alone_and_in_any_batch
from tests.tiny import TinyLinear, tiny_batch


def mp(filler=None, **options):
    return MeaningfulPerturbationExplainer(
        sampler=filler or black(), **{"mask_px": 4, "n_steps": 20, "map_upsample": "nearest", **options}
    )


def test_the_terms_of_the_loss():
    mask = torch.tensor([[[0.0, 0.5, 1.0], [1.0, 1.0, 1.0], [1.0, 0.0, 1.0]]])
    removed = 1 + 0.5 + 1
    differences = [1.0, 0.5, 0.0] + [0.0, 1.0, 0.0] + [0.5, 0.5] + [0.0, 0.0] + [1.0, 1.0]
    for power in (1.0, 3.0):
        expected = 0.1 * removed + 0.2 * sum(d**power for d in differences)
        assert mp(l1=0.1, tv=0.2, tv_power=power).penalty(mask).tolist() == pytest.approx([expected], abs=1e-6)


def test_gradient_of_the_whole_loss_against_finite_differences():
    explainer, batch = mp(l1=0.3, tv=0.2), tiny_batch(3)
    box = view(TinyLinear.random(3, (3, 8, 8), scale=0.3, dtype=torch.float64), "white_box", 64)
    image = batch.image.double()
    filling = explainer.sampler.filling(image, RandomStreams(0), batch.image_id)
    row = torch.arange(3)

    def loss(mask):
        seen = filling.blend(row, enlarge(mask, (8, 8), "nearest"), row)
        return explainer.penalty(mask) + box.differentiable_probability(seen).gather(1, TARGET[:, None])[:, 0]

    mask = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_(True)
    torch.autograd.gradcheck(lambda m: loss(m).sum(), mask, atol=1e-3)


def test_it_removes_what_speaks_for_the_class_and_nothing_else():
    weight = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    weight[0, :, 2:4, 4:6] = 0.9  # one cell of the mask; the answer is not saturated, so that its gradient is seen
    weight[0, :, 6:8, 0:2] = -0.5  # speaks against: must stay
    batch = tiny_batch(3)
    bright = torch.ones_like(batch.image)
    batch = type(batch)(**{**vars(batch), "image": bright})
    explanation, _ = explained(
        mp(l1=1e-3, tv=0.0, n_steps=100, jitter=0), batch, torch.zeros(3, dtype=torch.long), TinyLinear(weight=weight)
    )
    removed = 1 - explanation.extra["mask"]
    assert (removed[:, 1, 2] > 0.95).all() and (removed.flatten(1).sum(1) - removed[:, 1, 2] < 0.2).all()
    torch.testing.assert_close(explanation.attribution, enlarge(removed, (8, 8), "nearest"))
    assert (explanation.extra["probability"] < 0.02).all()


def test_without_steps_the_mask_is_its_start_in_the_same_polarity():
    explanation, box = explained(mp(n_steps=0))
    again = RandomStreams(0).uniform(tiny_batch(3).image_id, "mp.start", 4, 4)
    assert torch.equal(explanation.extra["mask"], again) and box.queries == 3


def test_one_step_is_adam_s():
    """The first step of Adam moves every cell by lr against the sign of its gradient."""
    still = explained(mp(n_steps=0))[0].extra["mask"]
    moved = explained(mp(n_steps=1, l1=10.0, tv=0.0, jitter=0))[0].extra["mask"]  # the penalty decides: all cells rise
    torch.testing.assert_close(moved, (still + 0.1).clamp_max(1), atol=1e-5, rtol=0)


def test_jitter_moves_the_image_with_its_border_repeated():
    image = torch.arange(16.0).view(1, 1, 4, 4).repeat(2, 1, 1, 1)
    moved = translate(image, torch.tensor([[0, 0], [1, 2]]))
    assert torch.equal(moved[0], image[0])
    assert moved[1, 0].tolist() == [[6, 7, 7, 7], [10, 11, 11, 11], [14, 15, 15, 15], [14, 15, 15, 15]]
    assert not torch.equal(explained(mp(jitter=0))[0].attribution, explained(mp(jitter=4))[0].attribution)


def test_the_circle_is_the_smallest_that_suffices():
    weight = torch.zeros(2, 3, 16, 16, dtype=torch.float64)
    weight[0, :, 6:10, 6:10] = 1.0
    batch = tiny_batch(2, (3, 16, 16))
    explanation, box = explained(
        mp(init="circular", n_steps=0, mask_px=16), batch, torch.zeros(2, dtype=torch.long), TinyLinear(weight=weight)
    )
    keep = explanation.extra["mask"]
    assert (keep[:, 6:10, 6:10] < 0.1).all() and (keep[:, 0] == 1).all() and 0.02 < float((1 - keep).mean()) < 0.25
    assert box.queries == 2 * mp(init="circular", n_steps=0).cost((3, 16, 16)).queries


@pytest.mark.parametrize("options", [{}, {"init": "circular"}, {"upsample": "bilinear", "jitter": 0}])
def test_neighbours_and_batch_size_do_not_matter(options):
    same_alone_and_in_any_batch(lambda: mp(**options))


def test_the_map_is_enlarged_apart_from_the_descent():
    rough, smooth = (explained(mp(map_upsample=how))[0] for how in ("nearest", "bilinear"))
    assert torch.equal(rough.extra["mask"], smooth.extra["mask"])
    torch.testing.assert_close(smooth.attribution, enlarge(1 - smooth.extra["mask"], (8, 8), "bilinear"))
    assert torch.equal(mp(map_upsample="bilinear").postprocess(rough).attribution, smooth.attribution)


def test_the_stored_loss_tells_whether_it_still_moves():
    batch = tiny_batch(3)
    explanation, _ = explained(mp(n_steps=1, l1=0.0, tv=0.0, jitter=0))
    assert "loss" not in explanation.extra  # one step has no trend
    short, long = (explained(mp(n_steps=n, l1=0.5, tv=0.0, jitter=0), batch)[0].extra for n in (5, 200))
    assert short["loss"].shape == (3, 5) and long["loss"].shape == (3, 200)
    assert (short["moving"] > 0.1).all() and (long["moving"] < 0.02).all()
    box = view(TinyLinear.random(3, (3, 8, 8), scale=0.3, dtype=torch.float64), "white_box", 64)
    start = RandomStreams(0).uniform(batch.image_id, "mp.start", 4, 4)
    seen = batch.image * enlarge(start, (8, 8), "nearest")[:, None]
    expected = 0.5 * (1 - start).sum((1, 2)) + box.probability(seen).gather(1, TARGET[:, None])[:, 0]
    torch.testing.assert_close(long["loss"][:, 0], expected, atol=1e-5, rtol=0)


def test_fillers_that_look_at_the_mask():
    explanation, _ = explained(mp(ByMask()))
    assert (
        explanation.attribution.isfinite().all()
        and 0 <= explanation.attribution.min()
        and explanation.attribution.max() <= 1
    )
    assert mp(ByMask()).cost((3, 8, 8)).evaluations == 21
