"""pomelo_lab: explain image classifiers with generative perturbations."""

import os

# Before torch loads its OpenMP: threads that wait for each other soon sleep instead of spinning. Two jobs that share
# the cores would
# otherwise stand still in each other's way (measured: a hundred times slower); alone the difference is small.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
