"""Train every shipped weight from nothing and put it into pomelo_lab/zoo; interrupted, the same command continues.

`python scripts/zoo.py` trains all, `python scripts/zoo.py portraits_oracle` one; other overrides go to the training
(device=cuda).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whichever one is installed

from pomelo_lab.config.entry import CONF
from pomelo_lab.train import trained_role, validate_training
from pomelo_lab.training.train import train_component
from pomelo_lab.weights import CARD, ZOO

RECIPES = {
    "portraits_residual": ["dataset=portraits", "classifier=residual"],
    "portraits_oracle": ["dataset=portraits", "classifier=oracle"],
    "portraits_smile": ["dataset=portraits", "dataset.label=Smiling", "classifier=residual"],
    "portraits_young": ["dataset=portraits", "dataset.label=Young", "classifier=residual"],
    "portraits_identity": ["dataset=portraits_identities", "classifier=identity", "recipe=identity"],
    "portraits_perceptual": ["dataset=portraits", "classifier=perceptual"],
    "portraits_judge": ["dataset=portraits", "classifier=judge", "seed=1"],
    "portraits_glow": ["dataset=portraits", "generator=glow_small"],
    "portraits_ddpm": ["dataset=portraits", "generator=ddpm_small"],
    "portraits_diffusion_autoencoder": ["dataset=portraits", "generator=diffusion_autoencoder_small"],
    "portraits_inpainter": ["dataset=portraits", "generator=inpainter_small"],
}
LIMIT_MB = 25.0


def main(arguments: list[str]) -> int:
    """Train and ship; returns 1 when an asked name does not exist or the zoo outgrows its limit."""
    asked, overrides = [a for a in arguments if "=" not in a], [a for a in arguments if "=" in a]
    if unknown := set(asked) - set(RECIPES):
        known = f"there are: {', '.join(RECIPES)} (none = all), and overrides of the training"
        print(f"no recipe for {', '.join(unknown)}; {known}", file=sys.stderr)
        return 1
    for name in asked or RECIPES:
        with initialize_config_dir(CONF, version_base="1.3"):
            config = validate_training(compose("train", overrides=[*RECIPES[name], *overrides]))
        role = trained_role(config)
        trained = train_component(
            config[role],
            config["dataset"],
            config["recipe"],
            Path(config["paths"]["outputs"]),
            seed=config["seed"],
            device=config["device"],
        )
        shutil.copyfile(trained, ZOO / f"{name}.safetensors")
        shutil.copyfile(trained.with_name(CARD), ZOO / f"{name}.json")
        print(f"{name}: {(ZOO / f'{name}.safetensors').stat().st_size / 1e6:.2f} MB")
    size = sum(p.stat().st_size for p in ZOO.iterdir()) / 1e6
    print(f"zoo: {size:.1f} MB of {LIMIT_MB:.0f} MB in {ZOO}")
    return int(size > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
