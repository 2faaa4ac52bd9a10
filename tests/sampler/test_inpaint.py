import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.generator.base import EvaluationCounter
from pomelo_lab.generator.inpainter import Inpainter
from pomelo_lab.sampler.inpaint import InpaintSampler
from pomelo_lab.segmenter.grid import GridSegmenter
from pomelo_lab.types import Perturbations
from tests.tiny import tiny_batch

BATCH = tiny_batch(3)


def sampler(batch_size=None, **options):
    return InpaintSampler(
        generator=Inpainter(channels=3, size_px=8, width=8, dilations=[1], batch_size=batch_size), **options
    )


def masks(n=4):
    return (torch.rand(3, n, 8, 8, generator=torch.Generator().manual_seed(5)) < 0.6).float()


def test_kept_pixels_stay_and_the_rest_is_the_network_s():
    made, keep = sampler(), masks()
    filled_images = made.fill(BATCH.image, keep, RandomStreams(0), BATCH.image_id)
    for i in range(3):
        for k in range(4):
            network = made.generator.inpaint(BATCH.image[[i]], keep[[i], k])[0]
            expected = torch.where(keep[i, k] > 0, BATCH.image[i], network)
            torch.testing.assert_close(filled_images[i, k], expected, atol=1e-5, rtol=0)
    assert torch.equal(
        made.fill(BATCH.image, torch.ones_like(keep), RandomStreams(0), BATCH.image_id),
        BATCH.image[:, None].expand(-1, 4, -1, -1, -1),
    )


def test_one_evaluation_per_fill_in_micro_batches():
    made, keep = sampler(batch_size=5), masks()
    before = EvaluationCounter.n
    small = made.fill(BATCH.image, keep, RandomStreams(0), BATCH.image_id)
    assert EvaluationCounter.n - before == 12 == 3 * made.fill_cost(4).evaluations
    torch.testing.assert_close(
        small, sampler().fill(BATCH.image, keep, RandomStreams(0), BATCH.image_id), atol=1e-5, rtol=0
    )


def test_perturbations_drop_segments():
    segments = GridSegmenter(n_segments=4).segment(BATCH.image)
    perturbations = sampler().perturb(BATCH, segments, 5, RandomStreams(0))
    kept_pixels = perturbations.keep_mask.gather(2, segments.label.flatten(1)[:, None].expand(-1, 5, -1)).view(
        3, 5, 1, 8, 8
    )
    original = Perturbations.quantize(BATCH.image)[:, None].expand_as(perturbations.image)
    assert torch.equal(perturbations.image[:, 0], original[:, 0]) and torch.equal(
        perturbations.image.where(kept_pixels, original), original
    )
    assert not torch.equal(perturbations.image, original) and sampler().cost(5).evaluations == 4


def test_masks_get_gradients_through_the_blend_only():
    made = sampler()
    keep = masks(1)[:, 0].requires_grad_(True)
    row, index = torch.arange(3), torch.zeros(3, dtype=torch.long)
    filling = made.filling(BATCH.image, RandomStreams(0), BATCH.image_id)
    filling.blend(row, keep, index).sum().backward()
    torch.testing.assert_close(
        keep.grad, (BATCH.image - filling.replacement(row, keep.detach(), index)).sum(1), atol=1e-5, rtol=1e-4
    )
