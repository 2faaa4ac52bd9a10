"""The published flow, written down again from its formulas over the names of its files, against ours with the converted
weights."""

import pytest
import torch
import torch.nn.functional as F

from pomelo_lab.generator.glow import Glow
from pomelo_lab.generator.glow_published import convert_published

SIDE, N_FLOWS, N_BLOCKS, HIDDEN = 16, 3, 2, 8


def state_dict(seed=0) -> dict[str, torch.Tensor]:
    """Random weights in the layout of the published file, actnorm scales of both signs among them."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape, by=1.0):
        return by * torch.randn(*shape, generator=rng)

    state, channels = {}, 3
    for b in range(N_BLOCKS):
        c = 4 * channels
        for f in range(N_FLOWS):
            start = f"blocks.{b}.flows.{f}"
            sign = torch.where(torch.rand(c, generator=rng) < 0.3, -1.0, 1.0)
            state |= {
                f"{start}.actnorm.loc": normal(1, c, 1, 1),
                f"{start}.actnorm.scale": (sign * (0.2 * normal(c)).exp()).view(1, c, 1, 1),
            }
            state |= {f"{start}.actnorm.initialized": torch.tensor(1, dtype=torch.uint8)}
            state |= {
                f"{start}.invconv.w_p": torch.eye(c)[torch.randperm(c, generator=rng)],
                f"{start}.invconv.l_eye": torch.eye(c),
            }
            state |= {
                f"{start}.invconv.u_mask": torch.ones(c, c).triu(1),
                f"{start}.invconv.l_mask": torch.ones(c, c).tril(-1),
            }
            state |= {f"{start}.invconv.s_sign": torch.where(torch.rand(c, generator=rng) < 0.5, -1.0, 1.0)}
            # unmasked, as they are stored
            state |= {f"{start}.invconv.w_l": normal(c, c, by=0.1), f"{start}.invconv.w_u": normal(c, c, by=0.1)}
            state |= {f"{start}.invconv.w_s": normal(c, by=0.1)}
            sizes = {"0": (HIDDEN, c // 2, 3), "2": (HIDDEN, HIDDEN, 1), "4.conv": (c // 2, HIDDEN, 3)}
            for layer, (after, before, k) in sizes.items():
                state |= {f"{start}.coupling.net.{layer}.weight": normal(after, before, k, k, by=0.1)}
                state |= {f"{start}.coupling.net.{layer}.bias": normal(after, by=0.1)}
            state |= {f"{start}.coupling.net.4.scale": normal(1, c // 2, 1, 1, by=0.1)}
        leaves = c // 2 if b < N_BLOCKS - 1 else c
        state |= {f"blocks.{b}.prior.conv.weight": normal(2 * leaves, leaves, 3, 3, by=0.05)}
        state |= {f"blocks.{b}.prior.conv.bias": normal(2 * leaves, by=0.1)}
        state |= {f"blocks.{b}.prior.scale": normal(1, 2 * leaves, 1, 1, by=0.1)}
        channels = 2 * channels
    return state


def zero_conv(x, state, name, scale):
    y = F.conv2d(F.pad(x, (1, 1, 1, 1), value=1.0), state[f"{name}.weight"], state[f"{name}.bias"])
    return y * torch.exp(3 * state[scale])


def published_encode(x, state):
    """Images in [0,1] -> their raw latents, block by block: y = coupling(W (s * (x + b)))."""
    x = torch.floor(x * 255 / 8 + 1e-4) / 32  # five bits, the lower edge of each bin
    x = torch.logit(0.05 + 0.9 * x)
    latents = []
    for b in range(N_BLOCKS):
        n, c, h, w = x.shape
        x = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, h // 2, w // 2)
        for f in range(N_FLOWS):
            part = {
                k.removeprefix(f"blocks.{b}.flows.{f}."): v
                for k, v in state.items()
                if k.startswith(f"blocks.{b}.flows.{f}.")
            }
            x = part["actnorm.scale"] * (x + part["actnorm.loc"])
            lower = part["invconv.w_l"] * part["invconv.l_mask"] + part["invconv.l_eye"]
            upper = part["invconv.w_u"] * part["invconv.u_mask"] + torch.diag(
                part["invconv.s_sign"] * part["invconv.w_s"].exp()
            )
            x = torch.einsum("ij,njhw->nihw", part["invconv.w_p"] @ lower @ upper, x)
            stays, moves = x.chunk(2, 1)
            hidden = F.conv2d(stays, part["coupling.net.0.weight"], part["coupling.net.0.bias"], padding=1).relu()
            hidden = F.conv2d(hidden, part["coupling.net.2.weight"], part["coupling.net.2.bias"]).relu()
            x = torch.cat([stays, moves + zero_conv(hidden, part, "coupling.net.4.conv", "coupling.net.4.scale")], 1)
        if b < N_BLOCKS - 1:
            x, leaves = x.chunk(2, 1)
        else:
            leaves = x
        latents.append(leaves.flatten(1))
    return torch.cat(latents, 1)


def flow(path, **given) -> Glow:
    shape = {"channels": 3, "size_px": SIDE, "n_flows": N_FLOWS, "n_blocks": N_BLOCKS, "hidden": HIDDEN}
    return Glow(**shape, n_bits=5, centered=False, weights=str(path), **given)


@pytest.fixture
def path(tmp_path):
    torch.save({"state_dict": {f"module.{name}": value for name, value in state_dict().items()}}, tmp_path / "glow.pth")
    return tmp_path / "glow.pth"


def test_latents_are_those_of_the_published_flow_and_decode_to_the_image(path):
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 0.9
    raw = flow(path, latent="raw")
    latent = raw.encode(images)
    assert torch.allclose(latent, published_encode(images, state_dict()), atol=1e-4)
    assert torch.allclose(raw.decode(latent), torch.floor(images * 255 / 8 + 1e-4) / 32, atol=1e-4)
    eps = flow(path)
    assert torch.allclose(eps.decode(eps.encode(images)), raw.decode(latent), atol=1e-4)


def test_priors_are_the_published_ones(path):
    whitened, raw = flow(path), flow(path, latent="raw")
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    leaves = 4 * 2 * 3 * (SIDE // 4) ** 2
    last = raw.encode(images)[:, -leaves:].view(2, -1, SIDE // 4, SIDE // 4)
    mean, log_sd = zero_conv(torch.zeros_like(last), state_dict(), "blocks.1.prior.conv", "blocks.1.prior.scale").chunk(
        2, 1
    )
    expected = (last - mean) * (-log_sd).exp()
    assert torch.allclose(whitened.encode(images)[:, -leaves:], expected.flatten(1), atol=1e-4)


def test_a_file_of_another_size_is_refused_by_its_names(path):
    with pytest.raises(ValueError, match=r"generator\.weights: .*does not fit Glow\(.*unknown: blocks\.0\.flows\.2"):
        Glow(channels=3, size_px=SIDE, n_flows=2, n_blocks=N_BLOCKS, hidden=HIDDEN, weights=str(path))


def test_nothing_is_lost_or_added():
    network = Glow(channels=3, size_px=SIDE, n_flows=N_FLOWS, n_blocks=N_BLOCKS, hidden=HIDDEN).network
    assert convert_published(state_dict()).keys() == network.state_dict().keys()
