import torch

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.degenerate import Degenerate
from pomelo_lab.types import Explanation
from tests.tiny import tiny_batch


def test_constant_and_broken_maps_and_flags_are_counted():
    maps = torch.stack([torch.zeros(8, 8), torch.rand(8, 8), torch.full((8, 8), torch.nan), torch.ones(8, 8)])
    flags = {"at_chance": torch.tensor([1.0, 0, 0, 0]), "unreached": torch.tensor([0.0, 0, 1, 1])}
    explanation = Explanation(target=torch.zeros(4, dtype=torch.long), attribution=maps, extra=flags)
    rows = Degenerate().score(Case(batch=tiny_batch(4), explanation=explanation))
    assert rows["value"].tolist() == [1, 0, 1, 1]
    summary = Degenerate().summarize(rows, {})
    assert summary.mean == 0.75 and summary.details == {"constant": 3, "at_chance": 1, "unreached": 2}
    plain = Degenerate().score(
        Case(batch=tiny_batch(4), explanation=Explanation(target=explanation.target, attribution=maps))
    )
    assert Degenerate().summarize(plain, {}).details == {"constant": 3}
