"""Benchmarks: the time of this package relative to other packages and to the classifier alone.

`make bench` prints and writes the ratios. Each comparison is a file of this folder with a function
`compare(setting) -> list[Row]`. A new file needs no registration.
"""
