"""The reconstruction control: exact where the autoencoder is, a floor where it is not."""

import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.reconstruction import ReconstructionExplainer
from tests.explainer.linear import GENERATOR, SHAPE, LinearAutoencoder, images_of, linear


class Lossy(LinearAutoencoder):
    """Renders everything a tenth darker."""

    def render(self, code, noise, n_steps, published=False):
        return 0.9 * super().render(code, noise, n_steps, published)


def explained(generator):
    explainer = ReconstructionExplainer(generator=generator, n_invert=4, n_render=4)
    batch, box = images_of(5), view(linear(), "black_box", 64)
    target = box.probability(batch.image).argmax(1)
    return explainer.explain(Case(batch, target, box, RandomStreams(0))), batch, target, box, explainer


def test_an_exact_autoencoder_gives_the_image_back():
    made, batch, _, box, explainer = explained(GENERATOR)
    torch.testing.assert_close(made.counterfactual, batch.image.float(), atol=0.5 / 255 + 1e-4, rtol=0)
    assert made.extra["flipped"].tolist() == [0.0] * 5
    assert box.queries == 5 * (1 + explainer.cost(SHAPE).queries)  # one more for the target
    assert explainer.cost(SHAPE).evaluations == 4 + 4


def test_what_the_autoencoder_loses_is_the_change():
    made, batch, target, box, _ = explained(lossy())
    torch.testing.assert_close(made.attribution, (0.1 * batch.image).mean(1).float(), atol=0.5 / 255 + 1e-4, rtol=0)
    flipped = box.probability(made.counterfactual).argmax(1) != target
    assert made.extra["flipped"].tolist() == flipped.float().tolist()


def lossy():
    from tests.explainer.linear import CODE
    from tests.generator.test_diffusion_autoencoder import TINY

    return Lossy(**{**TINY, "channels": 3, "code": CODE})
