import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.fingerprint import canonical
from pomelo_lab.generator.inpainter import Inpainter
from pomelo_lab.sampler.callable import CallableSampler
from pomelo_lab.sampler.inpaint import InpaintSampler
from tests.tiny import tiny_image

CODE = """
import torch
def blank(images, holes):
    assert set(holes.unique().tolist()) <= {0.0, 1.0} and holes.shape == (len(images), 1, *images.shape[2:])
    return torch.zeros_like(images).numpy() + VALUE
def flat(images, holes): return images[:, :1]
def broken(images, holes): return images / 0 * 0
"""


def written(tmp_path, value=0.25, name="mine.py"):
    (tmp_path / name).write_text(CODE.replace("VALUE", str(value)))
    return f"{tmp_path / name}:blank"


def test_holes_get_what_the_function_answers_and_the_rest_stays(tmp_path):
    sampler, image = CallableSampler(function=written(tmp_path)), tiny_image(2, (3, 8, 8))
    keep = torch.ones(2, 3, 8, 8)
    keep[:, 1:, 2:5, 2:5] = 0
    filled = sampler.fill(image, keep, RandomStreams(0), ("a", "b"))
    assert torch.equal(filled[:, 0], image) and (filled[:, 1:, :, 2:5, 2:5] == 0.25).all()
    assert torch.equal(filled[:, 1, :, 5:], image[:, :, 5:]) and sampler.fill_cost(7).evaluations == 7


def test_the_example_fills_with_the_mean_of_what_is_kept():
    image, keep = tiny_image(1, (3, 8, 8)), torch.ones(1, 1, 8, 8)
    keep[..., :4] = 0
    filled = CallableSampler().fill(image, keep, RandomStreams(0), ("a",))
    expected = image[:, :, :, 4:].mean((2, 3))
    torch.testing.assert_close(filled[0, 0, :, 0, 0], expected[0])


def test_our_own_in_painter_given_as_a_function_is_the_same_filler(tmp_path):
    (tmp_path / "network.py").write_text(
        "from pomelo_lab.generator.inpainter import Inpainter\n"
        "network = Inpainter(channels=3, size_px=8, width=4, dilations=[1])\n"
        "def fill(images, holes): return network.inpaint(images, 1 - holes[:, 0])\n"
    )
    ours = InpaintSampler(generator=Inpainter(channels=3, size_px=8, width=4, dilations=[1]))
    theirs = CallableSampler(function=f"{tmp_path / 'network.py'}:fill")
    image, keep = (
        tiny_image(2, (3, 8, 8)),
        (torch.rand(2, 5, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5).float(),
    )
    filled = [filler.fill(image, keep, RandomStreams(0), ("a", "b")) for filler in (ours, theirs)]
    torch.testing.assert_close(*filled, atol=1e-6, rtol=0)


def test_results_are_addressed_by_code_and_version_not_by_place(tmp_path):
    def provenance(function, **given):
        return canonical({"_target_": "pomelo_lab.sampler.callable.CallableSampler", "function": function, **given})

    first = provenance(written(tmp_path))
    assert provenance(written(tmp_path, name="elsewhere.py")) == first != provenance(written(tmp_path), version="2")
    assert provenance(written(tmp_path, 0.5)) != first != provenance(written(tmp_path).replace("blank", "flat"))
    assert provenance("pomelo_lab.sampler.callable:mean_of_kept")["more_science"] == [
        "pomelo_lab.sampler.callable",
        "mean_of_kept",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("flat", r"must answer finite images \[2, 3, 8, 8\], got \[2, 1, 8, 8\]"),
        ("broken", "not finite"),
        ("absent", "has no 'absent'"),
    ],
)
def test_mistakes_name_the_key(tmp_path, name, text):
    written(tmp_path)
    with pytest.raises(ValueError, match=f"sampler.function.*{text}"):
        CallableSampler(function=f"{tmp_path / 'mine.py'}:{name}").fill(
            tiny_image(2, (3, 8, 8)), torch.zeros(2, 1, 8, 8), RandomStreams(0), ("a", "b")
        )
