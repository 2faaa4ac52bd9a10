import pytest
import torch

from pomelo_lab.explainer.rise import RiseExplainer
from tests.explainer.removing import black, explained, same_alone_and_in_any_batch
from tests.tiny import TinyLinear, tiny_batch


def rise(**options):
    return RiseExplainer(sampler=black(), **{"n_masks": 60, "n_cells": 4, **options})


def masks_of(explainer, n=40_000, shape=(8, 8)):
    draw = torch.Generator().manual_seed(0)
    cells = (torch.rand(1, n, explainer.n_cells, explainer.n_cells, generator=draw) < explainer.p_keep).float()
    return explainer.smooth(cells, torch.rand(1, n, 2, generator=draw), shape)[0]


def test_masks_are_those_of_the_published_code():
    """Cells enlarged by one cell more than the image, then a window at a random offset: scikit-image's resize, as RISE
    calls it."""
    from skimage.transform import resize

    cells = (torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    shift = torch.tensor([[[0.0, 0.0], [0.9, 0.3], [0.5, 0.99]]])
    mask = rise().smooth(cells, shift, (10, 10))[0]
    for i, (top, left) in enumerate([(0, 0), (2, 0), (1, 2)]):  # cells of ceil(10 / 4) = 3 pixels
        large = resize(cells[0, i].numpy(), (15, 15), order=1, mode="reflect", anti_aliasing=False)
        torch.testing.assert_close(
            mask[i], torch.from_numpy(large[top : top + 10, left : left + 10]), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("p_keep", [0.3, 0.5])
def test_masks_keep_the_stated_share(p_keep):
    masks = masks_of(rise(p_keep=p_keep))
    assert 0 <= masks.min() and masks.max() <= 1
    # 40,000 masks: over four standard errors
    torch.testing.assert_close(masks.mean(0), torch.full((8, 8), p_keep), atol=0.01, rtol=0)


def test_a_linear_model_gets_the_second_moments_of_the_masks():
    """E[f(x*m) m] / p for f(x) = <w, x>: the second moments of the masks, applied to w * x."""
    weight = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64) / 50
    batch, target = tiny_batch(1), torch.zeros(1, dtype=torch.long)
    explainer = rise(n_masks=40_000)
    explanation, _ = explained(explainer, batch, target, TinyLinear(weight=weight, output="identity"))
    masks = masks_of(explainer).flatten(1).double()
    worth = (weight[0] * batch.image[0]).sum(0).flatten()
    expected = (masks.T @ (masks @ worth)) / len(masks) / explainer.p_keep
    torch.testing.assert_close(
        explanation.attribution[0].double().flatten(), expected, atol=0.02 * float(expected.abs().max()) + 0.002, rtol=0
    )


def test_neighbours_and_batch_size_do_not_matter():
    whole = same_alone_and_in_any_batch(rise)
    assert not torch.equal(whole.attribution, explained(rise(), seed=1)[0].attribution)
    explanation, box = explained(rise())
    assert box.queries == 3 * 60 == 3 * rise().cost((3, 8, 8)).queries and explanation.attribution.min() >= 0
