"""A case cut to some of its images."""

import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.case import Case
from pomelo_lab.types import Explanation, Perturbations, Segments
from tests.tiny import ConstantFiller, tiny_batch


def case_of(n=4):
    maps = torch.rand(n, 8, 8)
    return Case(
        batch=tiny_batch(n),
        target=torch.arange(n),
        streams=RandomStreams(0),
        segments=Segments(torch.zeros(n, 8, 8, dtype=torch.long), torch.ones(n, dtype=torch.long)),
        perturbations=Perturbations(torch.randint(0, 256, (n, 2, 3, 8, 8), dtype=torch.uint8)),
        reference={"mean": torch.zeros(3)},
        explanation=Explanation(torch.arange(n), maps),
        explanations=(Explanation(torch.arange(n), 2 * maps),),
        explain_again=lambda: None,
    )


def test_every_part_of_an_image_comes_with_it_in_the_order_asked_for():
    whole, rows = case_of(), [2, 0]
    part = whole.select(rows)
    assert part.batch.image_id == ("image-2", "image-0") and part.target.tolist() == rows and len(part) == 2
    assert torch.equal(part.perturbations.image, whole.perturbations.image[rows])
    assert torch.equal(part.explanation.attribution, whole.explanation.attribution[rows])
    assert torch.equal(part.explanations[0].attribution, whole.explanations[0].attribution[rows])
    assert len(part.segments) == 2 and part.reference is whole.reference and part.streams is whole.streams
    assert part.explain_again is None, "it answers for all images"


def test_what_is_made_once_belongs_to_the_images_and_to_its_key():
    whole, made = case_of(), []

    def make():
        made.append(len(made))
        return made[-1]

    assert [whole.once(key, make) for key in ("part", "rest", "part")] == [0, 1, 0]
    assert [whole.once("part", make, ConstantFiller()) for _ in range(2)] == [2, 3], "components are told apart"
    assert whole.select([2, 0]).once("part", make) == 4, "other images"


def test_a_slice_and_its_positions_are_the_same_cut():
    whole = case_of()
    assert torch.equal(whole.select(slice(1, 3)).batch.image, whole.select([1, 2]).batch.image)


def test_what_is_missing_stays_missing():
    part = Case(tiny_batch(3)).select([1])
    assert part.target is part.segments is part.explanation is None and part.explanations == ()


def test_a_filler_fills_the_images_of_the_case():
    keep = torch.zeros(1, 8, 8)
    filled = case_of().filling(ConstantFiller(value=0.25))(torch.tensor([3]), keep, torch.tensor([0]))
    assert torch.equal(filled, torch.full_like(filled, 0.25))
