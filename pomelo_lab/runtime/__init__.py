"""Ways to compute the answers of a frozen network: the same numbers up to rounding, at other speeds."""
