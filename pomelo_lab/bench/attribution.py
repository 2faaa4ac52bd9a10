"""Information bottlenecks and related explainers: the time of sixteen images in one batch and one after another."""

from __future__ import annotations

from pomelo_lab.bench.row import Row
from pomelo_lab.bench.setting import Setting
from pomelo_lab.bench.together import beside
from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.plain import PlainClassifier
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.fisher_sde import FisherSDEExplainer
from pomelo_lab.explainer.iba import IBAExplainer
from pomelo_lab.explainer.input_iba import InputIBAExplainer
from pomelo_lab.explainer.integrated_gradients import IntegratedGradientsExplainer
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.sampler.gray import GraySampler

SIDE_PX = 16  # side of the images; the network is so small that a single image does not use a whole core


def compare(setting: Setting, n_images: int = 16, n_steps: int = 20) -> list[Row]:
    """Compares one batch of images with single images, with a network too small for a single image to use a core.

    The maps must agree within 1e-5.
    """
    classifier = PlainClassifier(num_classes=5, width=8, depth=2)
    dataset = type(setting.dataset)(size_px=SIDE_PX, n_train=64)
    ddpm = DDPM(channels=3, size_px=SIDE_PX, widths=[16, 16], attention=[], norm_groups=8, head_dim=8)
    explainers: dict[str, Explainer] = {
        "Fisher/SDE": FisherSDEExplainer(generator=ddpm, n_steps=n_steps, n_draws=1, n_levels=9, n_curve_draws=1),
        "IBA": IBAExplainer(layer="stage1", n_steps=n_steps, n_draws=1, n_fit=64),
        "InputIBA": InputIBAExplainer(
            layer="stage1", n_steps=n_steps, n_draws=1, n_epochs=1, gan_batch=4, n_real=20, n_fit=64
        ),
        "integrated gradients": IntegratedGradientsExplainer(sampler=GraySampler(), n_steps=4),
    }
    white_box = view(classifier, "white_box", 256)
    reference = {
        name: explainer.fit(dataset.at("train"), white_box) for name, explainer in explainers.items() if explainer.fits
    }
    return beside(setting, explainers, dataset.batch(range(n_images)), classifier, at_most=1 / 4, reference=reference)
