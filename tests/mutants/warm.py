"""What every test imports and no mutant changes, imported once: each mutant runs in a fork of a process that has it."""

import warnings

import flax.linen  # noqa: F401
import jax.numpy  # noqa: F401
import matplotlib.figure  # noqa: F401
import pytest  # noqa: F401
import rich.console  # noqa: F401
import scipy.optimize  # noqa: F401

warnings.filterwarnings("ignore", "os.fork")  # jax: there is no backend yet, and no thread of it
