"""The rules that every component keeps, by role, for the components of this package and for those from outside.

`python -m pomelo_lab.conformance --config-dir DIR sampler=mine` tries one component on tiny images with untrained
networks. A rule is a function of a `Trial` that raises `Broken`; the first line of its docstring says what holds.
"""
