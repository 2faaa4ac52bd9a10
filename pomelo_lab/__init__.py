"""pomelo_lab: explain image classifiers with generative perturbations."""

__version__ = "0.1.0"
