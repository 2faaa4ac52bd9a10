"""Our LIME against the lime package and captum: same design, weights, selected features, coefficients, and end to
end."""

import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer import surrogate
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.lime import LimeExplainer
from pomelo_lab.sampler.black import BlackSampler
from pomelo_lab.sampler.gray import GraySampler
from pomelo_lab.sampler.mean import MeanSampler
from pomelo_lab.segmenter.grid import GridSegmenter
from pomelo_lab.segmenter.slic import SlicSegmenter
from pomelo_lab.types import Perturbations
from tests.tiny import TinyLinear, tiny_batch

pytestmark = pytest.mark.parity
SHAPE = (3, 32, 32)
SEED = 5


def kernel(d, width):
    return np.sqrt(np.exp(-(d**2) / width**2))


def design(n=200, s=23, seed=SEED):
    bits = np.random.RandomState(seed).randint(0, 2, n * s).reshape(n, s)
    bits[0] = 1
    return bits


def numbers(n=200, s=23, seed=SEED):
    """A design with noisy answers, as ours (a batch of one) and as theirs."""
    bits = design(n, s, seed)
    noise = np.random.RandomState(seed + 1)
    labels = bits @ noise.randn(s) + noise.randn(n)
    valid = torch.ones(1, s, dtype=torch.bool)
    data = torch.from_numpy(bits).double()[None]
    away = surrogate.interpretable_distance(data, valid, "cosine")
    ours = (data, torch.from_numpy(labels)[None], surrogate.kernel_weight(away, 0.25), valid)
    return ours, bits, labels[:, None]


def test_design_is_the_package_s():
    lime_image = pytest.importorskip("lime.lime_image")
    batch = tiny_batch(1, SHAPE)
    segments = SlicSegmenter(n_segments=20).segment(batch.image)
    explainer = lime_image.LimeImageExplainer(random_state=SEED)
    image = batch.image[0].permute(1, 2, 0).double().numpy()
    bits, _ = explainer.data_labels(image, image * 0, segments.label[0].numpy(), lambda x: np.zeros((len(x), 2)), 50)
    ours = BlackSampler(design="lime").perturb(batch, segments, 50, RandomStreams(SEED)).keep_mask[0]
    assert np.array_equal(ours.numpy(), bits.astype(bool))


def test_weights_are_scikit_learn_s_distances():
    pairwise = pytest.importorskip("sklearn.metrics").pairwise_distances
    bits = design()
    bits[7] = 0
    data, valid = torch.from_numpy(bits).double()[None], torch.ones(1, bits.shape[1], dtype=torch.bool)
    for metric in ("cosine", "euclidean"):
        theirs = pairwise(bits, bits[:1], metric=metric).ravel()
        ours = surrogate.interpretable_distance(data, valid, metric)
        np.testing.assert_allclose(ours[0].numpy(), theirs, atol=1e-12)
        np.testing.assert_allclose(surrogate.kernel_weight(ours, 0.25)[0].numpy(), kernel(theirs, 0.25), atol=1e-12)


@pytest.mark.parametrize("n_features", [1, 4, 10, None])
@pytest.mark.parametrize("method", ["none", "highest_weights", "forward_selection", "lasso_path", "auto"])
@pytest.mark.parametrize("seed", [0, 1])
def test_surrogate_is_limebase(method, n_features, seed):
    lime_base = pytest.importorskip("lime.lime_base")
    (data, answer, weight, valid), bits, labels = numbers(n=120, s=15, seed=seed)
    distances = (1 - np.sqrt(bits.mean(1))).astype(float)
    base = lime_base.LimeBase(partial(kernel, width=0.25), random_state=0)
    intercept, pairs, score, local = base.explain_instance_with_data(
        bits, labels, distances, 0, n_features or 100000, method
    )
    used = surrogate.select_features(data, answer, weight, method, n_features, valid)
    fit = surrogate.fit_ridge(data, answer, weight, 1.0, used)
    assert sorted(int(s) for s, _ in pairs) == used[0].nonzero()[:, 0].tolist()
    theirs = np.zeros(15)
    for s, value in pairs:
        theirs[s] = value
    np.testing.assert_allclose(fit.coefficient[0].numpy(), theirs, atol=1e-8)
    np.testing.assert_allclose(
        [fit.intercept[0], fit.score[0], fit.local_prediction[0]], [intercept, score, local[0]], atol=1e-8
    )


@pytest.mark.parametrize(("sampler", "hide"), [(BlackSampler, 0.0), (GraySampler, 0.5), (MeanSampler, None)])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_end_to_end(sampler, hide, distance):
    """One float64 image, all stages, against `explain_instance`; only what the classifier sees is stored with 8 bits in
    both."""
    lime_image = pytest.importorskip("lime.lime_image")
    from lime.wrappers.scikit_image import SegmentationAlgorithm

    batch, classifier, n = tiny_batch(1, SHAPE, seed=2), TinyLinear.random(3, SHAPE, scale=0.05), 300
    box = view(classifier, "black_box", 64)

    def answer(images):
        return box.probability(Perturbations.quantize(torch.from_numpy(images).permute(0, 3, 1, 2).float())).numpy()

    slic = SegmentationAlgorithm("slic", n_segments=30, compactness=10, sigma=0, start_label=0)
    theirs = lime_image.LimeImageExplainer(random_state=SEED).explain_instance(
        batch.image[0].permute(1, 2, 0).double().numpy(),
        answer,
        labels=(0, 1, 2),
        top_labels=None,
        hide_color=hide,
        num_samples=n,
        segmentation_fn=slic,
        random_seed=1,
        distance_metric=distance,
    )
    segments = SlicSegmenter(n_segments=30).segment(batch.image)
    assert np.array_equal(segments.label[0].numpy(), theirs.segments)
    perturbations = sampler(design="lime").perturb(batch, segments, n, RandomStreams(SEED))
    for target in range(3):
        explainer = LimeExplainer(n_samples=n, distance=distance)
        ours = explainer.explain(Case(batch, torch.tensor([target]), box, RandomStreams(SEED), segments, perturbations))
        expected = np.zeros(segments.largest)
        for s, value in theirs.local_exp[target]:
            expected[s] = value
        np.testing.assert_allclose(ours.extra["coefficient"][0].numpy(), expected, atol=1e-6)
        np.testing.assert_allclose(float(ours.extra["intercept"]), theirs.intercept[target], atol=1e-6)
    np.testing.assert_allclose(float(ours.extra["score"]), theirs.score, atol=1e-6)


def test_captum_lime_with_our_masks():
    """captum's LimeBase with Ridge(1), our masks and the interpretable kernel: 1e-4, since captum computes in
    float32."""
    attr = pytest.importorskip("captum.attr")
    linear = pytest.importorskip("captum._utils.models.linear_model")

    class Ridge1(linear.SkLearnLinearModel):
        def __init__(self):
            super().__init__(sklearn_module="linear_model.Ridge", alpha=1.0)

    batch, classifier, n = tiny_batch(1, SHAPE, seed=2), TinyLinear.random(3, SHAPE, scale=0.05), 150
    segments = SlicSegmenter(n_segments=20).segment(batch.image)
    perturbations = GraySampler().perturb(batch, segments, n, RandomStreams(0))
    keep, s = perturbations.keep_mask[0], segments.largest
    rows = iter(keep.float())

    def similarity(original, perturbed, interpretable, **_):
        valid = torch.ones(1, s, dtype=torch.bool)
        return surrogate.kernel_weight(
            surrogate.interpretable_distance(interpretable[None].double(), valid, "cosine"), 0.25
        )[0]

    def image_of(row, original, **_):
        pixels = segments.spread(row[None])[0] if row.ndim == 2 else segments.spread(row[None, None])[0]
        return torch.where(pixels[:, None] > 0, original, 0.5)

    def answer(x):
        return classifier.probability(Perturbations.dequantize(Perturbations.quantize(x)))

    lime = attr.LimeBase(
        answer,
        interpretable_model=Ridge1(),
        similarity_func=similarity,
        perturb_func=lambda *_, **__: next(rows)[None],
        perturb_interpretable_space=True,
        from_interp_rep_transform=image_of,
        to_interp_rep_transform=None,
    )
    theirs = lime.attribute(batch.image, target=1, n_samples=n)
    box = view(classifier, "black_box", 64)
    ours = LimeExplainer(n_samples=n).explain(
        Case(batch, torch.tensor([1]), box, RandomStreams(0), segments, perturbations)
    )
    torch.testing.assert_close(ours.extra["coefficient"], theirs.detach().float().reshape(1, -1), atol=1e-4, rtol=0)


def test_captum_feature_ablation_is_segment_removal():
    attr = pytest.importorskip("captum.attr")
    batch, classifier = tiny_batch(1, SHAPE, seed=2), TinyLinear.random(3, SHAPE, scale=0.05)
    segments = SlicSegmenter(n_segments=20).segment(batch.image)
    theirs = attr.FeatureAblation(classifier.probability).attribute(
        batch.image, target=1, baselines=0.5, feature_mask=segments.label[:, None]
    )[:, 0]
    keep = segments.spread(1 - torch.eye(segments.largest)[None])
    removed = GraySampler().fill(batch.image, keep, RandomStreams(0), batch.image_id, segments)
    box = view(classifier, "black_box", 7)
    drop = box.probability(batch.image)[:, None, 1] - box.probability(removed)[..., 1]
    torch.testing.assert_close(segments.spread(drop[:, None])[:, 0], theirs, atol=1e-6, rtol=0)


def test_ten_times_less_time_outside_the_classifier():
    """800 perturbations, about 65 segments, 64x64: perturbing and fitting, in processor seconds of one thread, best of
    some runs."""
    lime_image = pytest.importorskip("lime.lime_image")
    batch, n = tiny_batch(1, (3, 64, 64)), 800
    segments = GridSegmenter(n_segments=65).segment(batch.image)
    answers = np.random.RandomState(0).rand(n, 3)

    def ours():
        made = GraySampler().perturb(batch, segments, n, RandomStreams(0))
        made = replace(made, probability=torch.from_numpy(answers).float()[None])
        LimeExplainer(n_samples=n).explain(Case(batch, torch.tensor([1]), None, RandomStreams(0), segments, made))

    def theirs():
        lime_image.LimeImageExplainer(random_state=0).explain_instance(
            batch.image[0].permute(1, 2, 0).numpy(),
            lambda x: answers[: len(x)],
            labels=(1,),
            top_labels=None,
            hide_color=0.5,
            num_samples=n,
            segmentation_fn=lambda _: segments.label[0].numpy(),
            random_seed=1,
        )

    def seconds(work, repeats):
        took = []
        for _ in range(repeats):
            start = time.process_time()
            work()
            took.append(time.process_time() - start)
        return min(took)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fast, slow = seconds(ours, 6), seconds(theirs, 2)
    finally:
        torch.set_num_threads(threads)
    assert slow > 10 * fast, (fast, slow)
