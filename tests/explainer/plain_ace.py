"""ACE in plain loops, one image after another, and the small networks of its tests."""

import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.ace import ACEExplainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.diffusion import betas
from tests.tiny import TINY_UNET, TinyLinear, tiny_batch

TINY = TINY_UNET
SHAPE, N_STEPS, TAU = (3, 8, 8), 20, 4


class Exact(DDPM):
    """A denoiser in double precision: no sign of a gradient depends on how its images are batched."""

    def apply(self, images, *others, eager=False):
        return self.network(images.double(), *others).sample


def shaken(kind=DDPM):
    """A denoiser whose weights, those that start at zero too, are random."""
    made = kind(**TINY, prediction="epsilon", schedule="linear")
    rng = torch.Generator().manual_seed(1)
    for parameter in made.network.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=rng))
    return made


GENERATOR, EXACT = shaken(), shaken(Exact)
EXACT.network.double()


def binary(scale=0.05):
    return TinyLinear.random(2, SHAPE, seed=5, scale=scale, dtype=torch.float64)


def ace(**options):
    given = {
        "generator": EXACT,
        "n_attack": 6,
        "step": 4.0,
        "n_steps": N_STEPS,
        "tau": TAU,
        "dilation_px": 3,
        "lambda_l1": 0.01,
    }
    return ACEExplainer(**{**given, **options})


def explained(explainer, n=3, classifier=None, batch=None, batch_size=64, seed=0):
    batch = tiny_batch(n) if batch is None else batch
    box = view(classifier or binary(), "white_box", batch_size)
    target = box.probability(batch.image).argmax(1)
    return explainer.explain(Case(batch, target, box, RandomStreams(seed))), batch, target, box


def normal(name, purpose):
    return RandomStreams(0).normal([name], f"ace.{purpose}", *SHAPE)


class Chain:
    """Guided diffusion's arithmetic of a respaced chain, without shared helpers; index i = 0 is the last step."""

    def __init__(self):
        self.steps = [round(i * 99 / (N_STEPS - 1)) for i in range(N_STEPS)]  # space_timesteps(100, 20)
        self.bar = torch.cumprod(1 - betas("linear", 100), 0)[self.steps].double()
        before = torch.cat([torch.ones(1).double(), self.bar[:-1]])
        beta = 1 - self.bar / before
        self.variance = beta * (1 - before) / (1 - self.bar)
        self.one, self.two = beta * before.sqrt() / (1 - self.bar), (1 - before) * (1 - beta).sqrt() / (1 - self.bar)

    def noised(self, x, i, noise):
        return self.bar[i].sqrt() * x + (1 - self.bar[i]).sqrt() * noise

    def mean(self, z, i):
        eps = EXACT.network(z.double(), torch.tensor([self.steps[i]])).sample
        x0 = ((z - (1 - self.bar[i]).sqrt() * eps) / self.bar[i].sqrt()).clamp(-1, 1)
        return self.one[i] * x0 + self.two[i] * z


CHAIN = Chain()


def through(image, name, iteration):
    """An image [1,C,H,W] in [0,1], denoised."""
    z = CHAIN.noised(2 * image - 1, TAU - 1, normal(name, f"{iteration}.start"))
    for i in reversed(range(TAU)):
        z = CHAIN.mean(z, i)
        if i:
            z = z + CHAIN.variance[i].sqrt() * normal(name, f"{iteration}.{i + 1}")
    return (z + 1) / 2


def plain_gradient(at, image, name, iteration, goal, classifier, l1=0.01, l2=0.0):
    """Cross-entropy through the chain, and the distances apart from it, as the code has them."""
    at = at.detach().clone().requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(classifier.logit(through(at, name, iteration)), goal[None])
    slope = torch.autograd.grad(loss, at)[0]
    other = at.detach().clone().requires_grad_(True)
    distance = l1 * (image - other).abs().sum() + l2 * torch.linalg.norm((image - other).reshape(-1))
    return slope + torch.autograd.grad(distance, other)[0]


def plain_attack(batch, goal, classifier, n=6, step=4.0, eps=255.0, sign=1.0):
    made = []
    for row, name in enumerate(batch.image_id):
        image = batch.image[row : row + 1]
        at = image.clone()
        for i in range(n):
            at = at - sign * plain_gradient(at, image, name, i, goal[row], classifier).sign() * step / 255
            at = torch.max(torch.min(image + eps / 255, at), image - eps / 255).clamp(0, 1)
        made.append(at)
    return torch.cat(made)


def plain_keep(image, attacked, threshold, side):
    """One pixel after the other."""
    changed = (image - attacked).abs().sum(1)
    keep = torch.ones_like(changed, dtype=torch.bool)
    reach = side // 2
    for b, one in enumerate(changed):
        for y in range(8):
            for x in range(8):
                near = one[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
                keep[b, y, x] = near.max() / one.max() < threshold
    return keep[:, None]


def plain_refined(batch, attacked, keep):
    made = []
    for row, name in enumerate(batch.image_id):
        x, free = 2 * batch.image[row : row + 1] - 1, (~keep[row : row + 1]).float()
        z = CHAIN.noised(2 * attacked[row : row + 1] - 1, TAU - 1, normal(name, "refine.start"))
        for i in reversed(range(TAU)):
            z = z * free + (1 - free) * CHAIN.noised(x, i, normal(name, f"refine.{i + 1}.known"))
            with torch.no_grad():
                z = CHAIN.mean(z, i)
            if i:
                z = z + CHAIN.variance[i].sqrt() * normal(name, f"refine.{i + 1}")
        z = z * free + (1 - free) * x
        made.append(((z + 1) / 2).clamp(0, 1))
    return torch.cat(made)


def case_of(batch, box=None):
    return Case(batch, None, box, RandomStreams(0))


def setting(n=3):
    batch, box = tiny_batch(n), view(binary(), "white_box", 64)
    return batch, 1 - box.probability(batch.image).argmax(1), box
