"""Runtimes answer as the network does, or the network itself answers."""

import copy

import pytest
import torch
from torch import nn

from pomelo_lab.batching import MicroBatches
from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.residual import ResidualClassifier
from pomelo_lab.config.check import runtime_problems
from pomelo_lab.runtime import choice, onnx
from pomelo_lab.runtime.base import CannotPrepare, OneTensor, Runtime
from pomelo_lab.runtime.choice import Choice
from pomelo_lab.runtime.chosen import watch_runtimes

IMAGES = torch.rand(19, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def classifier(**options):
    return ResidualClassifier(num_classes=5, width=8, **options)


class Fake(Runtime):
    """Answers as the network, with an error that begins at its `late`-th call."""

    name, devices = "fake", frozenset({"cpu"})

    def __init__(self, error: float = 0.0, late: int = 0) -> None:
        self.error, self.late, self.prepared, self.calls = error, late, 0, 0

    def prepare(self, network, inputs):
        self.prepared += 1
        right = OneTensor(network)

        def answer(*parts):
            self.calls += 1
            return right(*parts) + self.error * (self.calls > self.late)

        return answer


@pytest.fixture
def fake(monkeypatch):
    """Makes one fake runtime the only one, chosen at once however slow it is."""

    def use(runtime):
        monkeypatch.setattr(choice, "RUNTIMES", {"fake": runtime})
        monkeypatch.setattr(Choice, "pays_off", lambda _: True)
        monkeypatch.setattr(choice, "_prepared", [])
        monkeypatch.setattr(choice, "GAIN", 0.0)
        return runtime

    return use


@pytest.mark.parametrize("name", ["frozen", "onnxruntime", pytest.param("compiled", marks=pytest.mark.slow)])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_runtime_gives_the_network_s_answers_for_any_number_of_rows(name, depth):
    if name == "onnxruntime":
        pytest.importorskip("onnxruntime")
    network = classifier(depth=depth)
    box = view(network, "black_box", 8)
    right = box.probability(IMAGES)
    network.use_runtime(name)
    with watch_runtimes() as told:
        answers = [box.probability(IMAGES[:n]) for n in (19, 19, 8, 3, 1)]
    assert told["ResidualClassifier"]["runtime"] == name, told
    for answer in answers:
        assert torch.allclose(answer, right[: len(answer)], atol=1e-5)


@pytest.mark.parametrize(("side", "pooled"), [(10, 7), (3, 7), (7, 7), (12, (4, 5)), (9, 1)])
def test_adaptive_pooling_of_any_size_is_exported(side, pooled):
    """Sizes that divide the input's and sizes that do not, as VGG's 7 of a small image."""
    pytest.importorskip("onnxruntime")
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(pooled), nn.Flatten()).eval()
    chosen, images = Choice("pooled", "onnxruntime"), IMAGES[..., :side, :side].contiguous()
    with watch_runtimes() as told, torch.no_grad():
        answers = [chosen(network, images[:n]) for n in (19, 19, 5)]
        assert all(torch.allclose(answer, network(images[: len(answer)]), atol=1e-5) for answer in answers)
    assert told["pooled"]["runtime"] == "onnxruntime", told


def test_a_unet_has_its_timesteps_and_its_evaluations_are_counted():
    pytest.importorskip("onnxruntime")
    from pomelo_lab.generator.base import EvaluationCounter
    from pomelo_lab.generator.ddpm import DDPM

    model = DDPM(channels=3, size_px=16, widths=[8, 16], attention=[1], norm_groups=8, head_dim=8)
    noisy, level = IMAGES[:8] * 2 - 1, torch.tensor([0, 5, 20, 100, 200, 500, 900, 999])
    with torch.no_grad():
        right = [model.apply(model.folded(noisy), t) for t in (level, level.flip(0))]
        model.use_runtime("onnxruntime")
        with watch_runtimes() as told:
            before = EvaluationCounter.n
            answers = [model.apply(model.folded(noisy), t) for t in (level, level.flip(0))]
    assert told["DDPM"]["runtime"] == "onnxruntime", told
    assert EvaluationCounter.n - before == 16
    for one, other in zip(answers, right, strict=True):
        assert torch.allclose(one, other, atol=2e-5 * float(other.abs().max()))


def test_nothing_is_prepared_twice_for_a_last_batch(fake):
    runtime, network = fake(Fake()), classifier().use_runtime("auto")
    box = view(network, "black_box", 8)
    for _ in range(3):
        box.probability(IMAGES)
    assert runtime.prepared == 1 and runtime.calls > 3


@pytest.mark.parametrize(("error", "late"), [(1e-3, 0), (float("nan"), 0), (1e-3, 6), (float("nan"), 6)])
def test_answers_that_differ_are_the_network_s(fake, error, late):
    """At once (late=0), or in the first call after the choice, which makes six calls."""
    fake(Fake(error, late))
    network = classifier()
    box = view(network, "black_box", 32)
    right = box.probability(IMAGES)
    network.use_runtime("auto")
    with watch_runtimes() as told:
        assert all(torch.equal(box.probability(IMAGES), right) for _ in range(4))
    assert told["ResidualClassifier"]["runtime"] == "eager" and "differ" in told["ResidualClassifier"]["why"]


class Branches(nn.Module):
    """Control flow that depends on the images."""

    def forward(self, images):
        return images.mean((2, 3)) if images.mean() > 0 else -images.amax((2, 3))


@pytest.mark.parametrize("name", ["frozen", "onnxruntime"])
def test_a_branch_that_a_trace_does_not_see_leaves_the_network_eager(name):
    if name == "onnxruntime":
        pytest.importorskip("onnxruntime")
    chosen, network = Choice("branches", name), Branches()
    with watch_runtimes() as told, torch.no_grad():
        for images in (IMAGES, -IMAGES, IMAGES):
            assert torch.equal(chosen(network, images), network(images))
    assert told["branches"]["runtime"] == "eager"


def test_a_network_that_cannot_be_prepared_stays_eager_and_one_that_was_asked_for_is_refused(fake):
    class Absent(Fake):
        def prepare(self, network, inputs):
            raise CannotPrepare("it is not installed")

    fake(Absent())
    chosen, network = Choice("net", "auto"), nn.Flatten()
    with watch_runtimes() as told:
        chosen(network, IMAGES)
    assert told["net"] == {"runtime": "eager", "why": "fake: it is not installed"}
    with pytest.raises(ValueError, match="runtime=fake: it is not installed"):
        Choice("net", "fake")(network, IMAGES)


def test_short_work_prepares_nothing(monkeypatch):
    runtime = Fake()
    monkeypatch.setattr(choice, "RUNTIMES", {"fake": runtime})
    network = classifier().use_runtime("auto")
    with watch_runtimes() as told:
        view(network, "black_box", 8).probability(IMAGES)
    assert not runtime.prepared and "too little time" in told["ResidualClassifier"]["why"]


class Clock:
    """A network whose row takes a stated number of seconds, and a preparation that takes five."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.seconds, self.runtime = 0.0, seconds, Fake()
        clock, prepare = self, self.runtime.prepare

        class Network(nn.Module):
            def forward(self, images):
                clock.now += clock.seconds * len(images)
                return images.flatten(1)

        def slow_prepare(network, inputs):
            answer = prepare(network, inputs)
            clock.now += 5.0
            return answer

        monkeypatch.setattr(choice.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(choice, "_prepared", [])
        monkeypatch.setattr(choice, "RUNTIMES", {"fake": self.runtime})
        self.runtime.prepare, self.network = slow_prepare, Network()

    def calls_before_preparation(self, planned, most=40):
        """Calls of ten rows of the network itself, until a runtime is prepared; None = not in `most` calls."""
        chosen, before = Choice("net", "auto", planned=planned), self.runtime.prepared
        for call in range(most):
            chosen(self.network, IMAGES[:10])
            if self.runtime.prepared > before:
                return call + 1
        return None


def test_auto_prepares_at_the_second_call_where_the_plan_is_long(monkeypatch):
    """0.1 s a row, of which a gain of 1.25 saves a fifth: 4 s are saved in 200 rows."""
    assert Clock(monkeypatch, 0.1).calls_before_preparation(planned=10_000) == 2
    assert Clock(monkeypatch, 0.1).calls_before_preparation(planned=221) == 2
    assert Clock(monkeypatch, 0.1).calls_before_preparation(planned=219, most=21) is None


def test_auto_waits_where_nothing_is_planned_or_more_is_asked_than_was_planned(monkeypatch):
    assert Clock(monkeypatch, 0.1).calls_before_preparation(planned=None) == 5, "after more than 4 s"
    assert Clock(monkeypatch, 0.1).calls_before_preparation(planned=100) == 10, "when the planned rows are over"


def test_a_measured_preparation_that_is_longer_replaces_the_default(monkeypatch):
    clock = Clock(monkeypatch, 0.1)
    assert clock.calls_before_preparation(planned=None) == 5
    (measured,) = choice._prepared
    assert measured >= 5
    enough = int(5 * measured / 0.1) + 30
    assert clock.calls_before_preparation(planned=enough) == 2
    assert clock.calls_before_preparation(planned=221, most=22) is None


def test_changed_weights_and_copies_are_computed_anew(fake):
    fake(Fake())
    network = classifier().use_runtime("auto")
    box = view(network, "black_box", 32)
    box.probability(IMAGES)
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.network.parameters():
            parameter.mul_(1.5)
        for parameter in network.network.parameters():
            parameter.mul_(0.5)
    for changed in (network, other):
        answer = view(changed, "black_box", 32).probability(IMAGES)
        assert torch.equal(answer, view(changed.use_runtime("eager"), "black_box", 32).probability(IMAGES))


def test_gradients_and_hooks_see_the_network(fake):
    runtime = fake(Fake(1.0))
    network = classifier().use_runtime("auto")
    images = IMAGES.clone().requires_grad_()
    network.probability(images)[:, 0].sum().backward()
    assert images.grad.abs().sum() > 0
    seen = []
    layer = next(part for part in network.network.modules() if isinstance(part, nn.Conv2d))
    handle = layer.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        network.probability(IMAGES)
    handle.remove()
    assert seen and not runtime.prepared


def test_a_damaged_graph_is_exported_again(monkeypatch, tmp_path):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("POMELO_CACHE", str(tmp_path))
    network, exported = classifier().network, []
    monkeypatch.setattr(onnx, "export", lambda *a, real=onnx.export: exported.append(1) or real(*a))
    right = OneTensor(network)(IMAGES)
    for damage in (None, None, lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data[:100], lambda _: b""):
        if damage:
            [path] = (tmp_path / "onnx").iterdir()
            path.write_bytes(damage(path.read_bytes()))
        answer = onnx.OnnxRuntime().prepare(network, (IMAGES,))(IMAGES)
        assert torch.allclose(answer, right, atol=1e-5)
    assert len(exported) == 4, "once, not again where it is kept, and again after each damage"
    with torch.no_grad():
        next(network.parameters()).mul_(2)
    assert onnx.graph_digest(network, (IMAGES,)) != path.stem, "other weights are another graph"


def test_names_are_checked_before_a_job():
    assert not runtime_problems("auto") and "did you mean 'onnxruntime'" in runtime_problems("onnxruntme")[0]


def test_another_runtime_lets_batches_find_their_size_again(fake):
    fake(Fake())
    network = classifier().use_runtime("auto")
    box = view(network, "black_box", "auto")
    box._forwards.tried = True
    box.probability(IMAGES)
    assert not box._forwards.tried


class Branch(nn.Module):
    """Answers ten times as much where an image has a bright pixel."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        answer = self.layer(x).mean((2, 3))
        return 10 * answer if float(x.max()) > 2 else answer


@pytest.mark.parametrize("name", ["frozen", "onnxruntime"])
def test_a_branch_on_a_value_is_never_traced(name):
    """The images of the first calls do not take it, so a comparison of answers cannot show it."""
    network, choice = Branch().eval().requires_grad_(False), Choice("Branch", name)
    bright = 3 * torch.rand(8, 3, 8, 8)
    with torch.no_grad():
        for _ in range(3):
            choice(network, torch.rand(8, 3, 8, 8))
        assert torch.equal(choice(network, bright), network(bright))
    (found,) = choice.chosen.values()
    assert found.answer is None and "depends on values" in found.why


def test_memory_that_runs_out_in_onnxruntime_halves_the_batch():
    """Its errors are no RuntimeError, which micro-batches catch."""

    class Session:
        def get_inputs(self):
            return [type("Node", (), {"name": "input0"})]

        def run(self, _, arrays):
            if len(arrays["input0"]) > 2:
                raise Exception("Failed to allocate memory for requested buffer of size 9")
            return [arrays["input0"]]

    forwards, rows = MicroBatches(8), torch.rand(8, 3)
    assert torch.equal(forwards(lambda part: onnx.run(Session(), [part]), rows), rows) and forwards.batch_size == 2
