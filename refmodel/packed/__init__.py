"""Weights of few bits, kept as they are: how their numbers are written, and arrays of them."""
