"""Speed against other packages and against the classifier's own time; `make bench` prints and writes the ratios.

A comparison is a file of this folder with `compare(setting) -> list[Row]`; listing the folder finds it (see `report`).
"""
