"""The roles of a job's components. Each role is a config group, a top-level key of the config and a package folder."""

# the base class of the components of each role
ROLES = {
    "dataset": "pomelo_lab.dataset.base.Dataset",
    "classifier": "pomelo_lab.classifier.base.Classifier",
    "segmenter": "pomelo_lab.segmenter.base.Segmenter",
    "generator": "pomelo_lab.generator.base.Generator",
    "sampler": "pomelo_lab.sampler.base.Sampler",
    "explainer": "pomelo_lab.explainer.base.Explainer",
}
