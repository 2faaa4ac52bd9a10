import torch

from pomelo_lab.results.overlay import colour_map, overlay, red_blue, scale_maps


def test_maps_are_shown_on_their_own_scale():
    signed, floor, constant = torch.tensor([[-2.0, 0.0, 1.0]]), torch.tensor([[3.0, 4.0, 5.0]]), torch.full((1, 3), 2.0)
    scaled_maps = scale_maps(torch.stack([signed, floor, constant, torch.zeros(1, 3), -floor]))
    expected = [[-1, 0, 0.5], [0, 0.5, 1], [1, 1, 1], [0, 0, 0], [-0.6, -0.8, -1]]
    torch.testing.assert_close(scaled_maps[:, 0], torch.tensor(expected))


def test_lone_peaks_may_be_clipped():
    spiky = torch.ones(1, 10, 10)
    spiky[0, 0, 0], spiky[0, 5] = 100.0, 2.0
    scaled_maps = scale_maps(spiky - 1, clip=0.95)
    assert float(scaled_maps[0, 0, 0]) == 1 and float(scaled_maps[0, 5, 5]) == 1 and float(scaled_maps[0, 9, 9]) == 0
    lone = torch.zeros(1, 10, 10)
    lone[0, 0, 0] = 3.0
    assert torch.equal(scale_maps(lone, clip=0.95), scale_maps(lone))


def test_red_speaks_for_and_blue_against():
    shown = overlay(torch.full((1, 3, 1, 3), 0.5), torch.tensor([[[1.0, 0.0, -1.0]]]))[0, :, 0]
    assert shown[0, 0] > shown[2, 0] and shown[2, 2] > shown[0, 2] and torch.equal(shown[:, 1], torch.full((3,), 0.5))


def test_the_colours_are_those_of_matplotlib():
    from matplotlib import colormaps

    values = torch.linspace(-1, 1, 1001)
    expected = torch.from_numpy(colormaps["RdBu_r"]((values.numpy() + 1) / 2)[:, :3]).float()
    torch.testing.assert_close(red_blue(values), expected, rtol=0, atol=1e-6)


def test_other_colours_are_those_of_matplotlib():
    from matplotlib import colormaps

    maps = torch.tensor([[[-2.0, 0.0, 2.0]]])
    assert torch.allclose(
        colour_map(maps, colors="viridis")[0, :, 0, 2], torch.tensor(colormaps["viridis"](1.0)[:3]).float()
    )
    assert torch.allclose(colour_map(maps)[0, :, 0, 2], red_blue(torch.tensor(1.0)))
