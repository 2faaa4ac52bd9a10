"""Recordings of a network answer as the network does, for any number of rows."""

import pytest
import torch
from torch import nn

from pomelo_lab.runtime.choice import Choice
from pomelo_lab.runtime.graph import Graph, Replayed

ROWS = torch.rand(19, 3, generator=torch.Generator().manual_seed(0))


class Timed(nn.Module):
    """Answers to rows with a time of each, and with a factor that all rows share."""

    def forward(self, rows, time, factor):
        return rows * factor + time[:, None]


def recorder(made):
    """Stands for a GPU's recording: the answer's memory is computed anew from the memory of the inputs."""

    def record(network, inputs):
        made.append(len(inputs[0]))
        answer = network(*inputs).clone()
        return answer, lambda: answer.copy_(network(*inputs))

    return record


def test_recordings_serve_every_number_of_rows_and_answers_stay():
    made: list[int] = []
    replayed, kept = Replayed(Timed(), recorder(made)), []
    for n, factor in ((19, 2.0), (5, 3.0), (8, 4.0), (1, 5.0), (19, 6.0), (0, 7.0)):
        inputs = ROWS[:n], torch.arange(n).float(), torch.tensor(factor)
        kept.append((replayed(*inputs), Timed()(*inputs)))
    assert made == [32, 8, 1]
    for answer, right in kept:  # after all calls, because a later one must not overwrite an answer
        assert torch.equal(answer, right)


def test_without_a_gpu_it_is_refused():
    with pytest.raises(ValueError, match="runtime=graph: it needs a GPU of NVIDIA, not device=cpu"):
        Choice("net", "graph")(nn.Flatten(), ROWS)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_replays_a_network():
    network, images = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten()).cuda().eval(), torch.rand(19, 3, 9, 9)
    with torch.no_grad():
        answer = Graph().prepare(network, (images.cuda(),))
        for n in (19, 3, 16):
            assert torch.allclose(answer(images[:n].cuda()), network(images[:n].cuda()), atol=1e-5)
