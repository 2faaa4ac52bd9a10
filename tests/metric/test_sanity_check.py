import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.layers import list_stages
from pomelo_lab.classifier.torchvision import TorchvisionClassifier
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.saliency import SaliencyExplainer
from pomelo_lab.metric.sanity_check import SanityCheck
from pomelo_lab.types import Explanation
from tests.explainer.gradients import rectified
from tests.explainer.removing import TARGET
from tests.tiny import tiny_batch


def case_of(explain, classifier=None):
    classifier = classifier or rectified()
    seen = []

    def explain_again(change=None):
        changed = copy.deepcopy(classifier)
        change(changed.network)
        seen.append(changed)
        return Explanation(target=TARGET, attribution=explain(changed))

    explanation = Explanation(target=TARGET, attribution=explain(classifier))
    return Case(
        batch=tiny_batch(3),
        explanation=explanation,
        classifier=view(classifier, "white_box", 64),
        explain_again=explain_again,
    ), seen


def saliency(classifier):
    return (
        SaliencyExplainer()
        .explain(Case(tiny_batch(3), TARGET, view(classifier, "white_box", 64), RandomStreams(0)))
        .attribution
    )


def differing(classifier, other):
    return {
        name
        for name, one in classifier.network.named_parameters()
        if not torch.equal(one, dict(other.network.named_parameters())[name])
    }


def test_layers_are_randomised_from_the_output_down_and_stay_so():
    classifier = rectified()
    case, seen = case_of(saliency, classifier)
    scores = SanityCheck().score(case)
    assert scores["ssim"].shape == scores["spearman"].shape == (3, 3)
    assert [differing(classifier, one) for one in seen] == [
        {"6.weight", "6.bias"},
        {"6.weight", "6.bias", "3.weight", "3.bias"},
        {"6.weight", "6.bias", "3.weight", "3.bias", "0.weight", "0.bias"},
    ]
    assert torch.equal(seen[0].network[6].weight, seen[2].network[6].weight)
    assert torch.equal(scores["value"], scores["ssim"].mean(1))
    assert torch.equal(scores["fall_ssim"], scores["ssim"][:, 0] - scores["ssim"][:, -1])
    assert torch.equal(SanityCheck(similarity="spearman").score(case)["value"], scores["spearman"].mean(1))


def test_an_explainer_that_ignores_the_network_is_found_out():
    maps = torch.rand(3, 8, 8)
    case, _ = case_of(lambda classifier: maps)
    scores = SanityCheck().score(case)
    assert torch.allclose(scores["ssim"], torch.ones(3, 3).double()) and torch.allclose(
        scores["spearman"], torch.ones(3, 3).double()
    )
    case, _ = case_of(lambda classifier: maps * float(classifier.network[6].weight.sum()).__abs__())
    assert torch.allclose(SanityCheck().score(case)["value"], torch.ones(3).double())  # scale does not count
    assert float(SanityCheck().score(case_of(saliency)[0])["value"].max()) < 0.9


def test_the_null_is_the_similarity_of_two_images_and_sparse_maps_reach_it_without_sharing_anything():
    """One lit pixel each, none the same: SSIM is high for any two of these maps; the curve minus the null says that
    nothing is left."""
    maps = torch.zeros(3, 24, 24)
    maps[torch.arange(3), torch.tensor([3, 11, 20]), torch.tensor([5, 17, 9])] = 1.0
    moved = torch.zeros(3, 24, 24)
    moved[torch.arange(3), torch.tensor([15, 4, 11]), torch.tensor([20, 4, 2])] = 1.0
    case, _ = case_of(lambda classifier: moved)
    case = replace(case, explanation=Explanation(target=TARGET, attribution=maps))
    scores = SanityCheck().score(case)
    assert (scores["ssim"] > 0.8).all() and (scores["null_ssim"] > 0.8).all()
    assert (scores["above_ssim"].abs() < 0.05).all() and (scores["above_spearman"].abs() < 0.02).all()
    blind, _ = case_of(lambda classifier: maps)
    assert (SanityCheck().score(blind)["above_ssim"] > 0.05).all()


def test_the_null_of_an_image_does_not_change_with_those_that_follow():
    maps = torch.rand(4, 16, 16)
    whole = SanityCheck().null(maps)
    for n in (2, 3):
        torch.testing.assert_close(SanityCheck().null(maps[:n])["ssim"], whole["ssim"][:n])
    assert SanityCheck().null(maps[:1])["ssim"].isnan().all()


def test_networks_of_few_parts_are_randomised_layer_by_layer():
    def count(name):
        classifier = TorchvisionClassifier(architecture=name, num_classes=3, weights=None)
        return SanityCheck().select_layers(classifier)

    assert count("vgg16") == ["classifier.6", "classifier.0", *(f"features.{i}" for i in (28, 24, 21, 17, 12, 7))]
    dense = count("densenet121")
    assert dense[0] == "classifier" and dense[-1] == "features.conv0" and len(dense) == 11
    assert count("resnet18") == ["fc", "layer4", "layer3", "layer2", "layer1", "bn1", "conv1"]


class Attending(nn.Module):
    """Attention, positions, and a scale of one number."""

    def __init__(self):
        super().__init__()
        self.attention, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)
        self.position, self.scale = nn.Parameter(torch.zeros(1, 400, 8)), nn.Parameter(torch.tensor(3.0))


class Tokens(nn.Module):
    """A transformer's parts: embedding, body, head, and a class token of the network itself."""

    def __init__(self):
        super().__init__()
        self.patch, self.body, self.head = nn.Conv2d(3, 8, 2, stride=2), Attending(), nn.Linear(8, 3)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))


def trained(network):
    """Every weight moved by noise of 0.5."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.5 * torch.randn(weight.shape, generator=generator))
    return network


def unchanged(network, changed):
    return {name for name, weight in changed.named_parameters() if torch.equal(weight, network.get_parameter(name))}


def test_no_trained_weight_of_a_transformer_survives_and_the_last_stage_takes_the_network_s_own():
    network = trained(Tokens())
    names = list_stages(network, at_least=3)
    assert names == ("head", "body", "patch")
    for n, left in ((2, {"token", "patch.weight", "patch.bias"}), (3, set())):
        changed, again = copy.deepcopy(network), copy.deepcopy(network)
        SanityCheck().randomise(changed, names[:n])
        SanityCheck().randomise(again, names[:n])
        assert unchanged(network, changed) == left and not set(dict(network.named_parameters())) - unchanged(
            changed, again
        )
    assert (
        float(changed.body.position.std()) == pytest.approx(0.5, rel=0.05)
        and abs(float(changed.body.position.mean())) < 0.05
    )


def test_no_trained_weight_of_torchvision_s_transformers_survives():
    from torchvision.models import SwinTransformer, VisionTransformer

    for network in (
        VisionTransformer(
            image_size=8, patch_size=4, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=3
        ),
        SwinTransformer(
            patch_size=[2, 2], embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=[2, 2], num_classes=3
        ),
    ):
        network, changed = trained(network), copy.deepcopy(network)
        SanityCheck().randomise(changed, list_stages(network))
        assert not unchanged(network, changed)


def test_constants_that_no_module_resets_are_drawn_and_untrained_norms_stay():
    network = nn.Sequential(Attending(), nn.BatchNorm2d(4))
    network[0].equal = nn.Parameter(torch.full((768, 1, 1), 0.1, dtype=torch.float64))
    changed = copy.deepcopy(network)
    SanityCheck().randomise(changed, ["0", "1"])
    assert float(changed[0].position.std()) == pytest.approx(0.02, rel=0.1) and changed[0].scale != 3
    assert float(changed[0].equal.std()) == pytest.approx(0.1, rel=0.1)
    assert torch.equal(changed[1].weight, torch.ones(4)) and torch.equal(changed[0].norm.weight, torch.ones(8))


def test_constant_maps_are_undefined():
    case, _ = case_of(lambda classifier: torch.ones(3, 8, 8))
    assert SanityCheck().score(case)["value"].isnan().all()


def test_named_layers_and_names_that_do_not_exist():
    case, seen = case_of(saliency)
    assert SanityCheck(layers=["3", "0"]).score(case)["ssim"].shape == (3, 2)
    assert differing(rectified(), seen[0]) == {"3.weight", "3.bias"}
    with pytest.raises(ValueError, match="layer '33' does not exist.*did you mean"):
        SanityCheck(layers=["33"]).score(case)


def test_schemes():
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Linear(400, 400))
    network[1].running_mean.fill_(3.0)
    SanityCheck(scheme="inputiba").randomise(network, ["0", "1", "2"])
    bound = (6 / (27 + 64 * 9)) ** 0.5
    assert 0.95 * bound < float(network[0].weight.abs().max()) <= bound and not network[0].bias.any()
    assert float(network[2].weight.std()) == pytest.approx(0.05, rel=0.02) and not network[2].bias.any()
    assert float(network[1].running_mean[0]) == 3
    before = torch.get_rng_state()
    SanityCheck().randomise(network, ["1"])
    assert float(network[1].running_mean[0]) == 0 and torch.equal(torch.get_rng_state(), before)
