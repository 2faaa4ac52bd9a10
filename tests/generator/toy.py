"""Trainings of seconds: two flat images in noise-free copies, learned by generators of a few thousand weights."""

import torch

from pomelo_lab.generator.inpainter import Inpainter
from pomelo_lab.training import loop
from pomelo_lab.training.batch_source import BatchSource
from pomelo_lab.training.recipe import InpaintingRecipe, Recipe
from pomelo_lab.training.record import read_log
from pomelo_lab.training.train import training_of
from tests.tiny import TinyDataset

RECIPE = {
    "epochs": 4,
    "min_steps": 0,
    "batch_size": 8,
    "lr": 3e-3,
    "weight_decay": 0.0,
    "warmup": 0.0,
    "schedule": "constant",
    "shift_px": 0,
    "brightness": 0.0,
    "checkpoint_s": 1000.0,
}


def two_values(n=32, shape=(1, 8, 8)):
    """Images that are 51/255 or 204/255 all over."""
    label = torch.arange(n) % 2
    return TinyDataset(image=torch.tensor([0.2, 0.8])[label].view(n, 1, 1, 1).expand(n, *shape).clone(), label=label)


def module_of(generator, **options):
    """A training of four steps an epoch, ready to be fitted."""
    kind = InpaintingRecipe if isinstance(generator, Inpainter) else Recipe
    recipe, data = kind(**{**RECIPE, **options}), two_values(shape=generator.shape)
    sources = BatchSource(data, recipe.batch_size, 3), BatchSource(data, 16, 3, shuffle=False)
    return training_of(generator, recipe, data).attach(*sources, 3)


def run_training(generator, folder, watch=None, **options):
    """Train to the end; watch(module) may change the module before."""
    module = module_of(generator, **options)
    if watch:
        watch(module)
    folder.mkdir(exist_ok=True)
    return loop.fit(module, folder, torch.device("cpu"))


def rows(folder):
    """log.jsonl without the times, checked against its digests."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_log(folder / "log.jsonl")]


def interrupted(monkeypatch, generator, folder, saved, killed, **options):
    """A training whose last checkpoint is of step `saved` and which dies in step `killed`."""

    def save(self, trainer, *_):
        if trainer.global_step == saved:
            self.save(trainer)

    def watch(module):
        whole = module.loss

        def loss(given):
            if module.global_step == killed:
                raise RuntimeError("killed")
            return whole(given)

        module.loss = loss

    with monkeypatch.context() as patch:
        patch.setattr(loop.Checkpoints, "on_train_batch_end", save)
        try:
            run_training(generator, folder, watch, **options)
        except RuntimeError as error:
            return str(error)
    return "survived"


def averaged(generator, folder, **options):
    """(running average before the first step, weights after every step, module) of a training."""
    start, after = [], []

    def watch(module):
        end_batch = module.on_train_batch_end

        def on_train_batch_start(*_):
            if module.average is not None and not start:
                start.extend(p.clone() for p in module.average.parameters())

        def on_train_batch_end(*given):
            end_batch(*given)
            after.append([p.detach().clone() for p in module.network.parameters()])

        module.on_train_batch_start, module.on_train_batch_end = on_train_batch_start, on_train_batch_end

    module = run_training(generator, folder, watch, **options)
    return start, after, module
