"""Efficiencies of published runs: what they share, what is measured of them, and what follows for others."""
