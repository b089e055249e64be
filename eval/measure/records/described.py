"""All of a value as text, the same in every process, which a digest can be taken of.

dataclasses, objects    module.Class(field=..., ...), by their fields or attributes
functions, classes      module.name, where the module has them under it
other functions         their code, its constants, defaults and what they enclose
partials, methods       the function, and its arguments or its object
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import sys
import types
from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np


def described(value: Any) -> str:
    """The text.  Raises `ValueError` for an object that keeps to itself what is in it, or that holds itself.

    Examples:
        >>> from attention.sliding_window import SlidingWindow
        >>> described((SlidingWindow(5), 0.1, {"a": None}))
        "(attention.sliding_window.SlidingWindow(window=5,sinks=0),0.1,{'a':None})"
        >>> described(functools.partial(max, 5)), described(lambda: 2) == described(lambda: 3)
        ('partial(builtins.max,(5),{})', False)
    """
    try:
        return _described(value)
    except RecursionError as error:
        raise ValueError(f"a {type(value).__qualname__} that holds itself cannot be told from another") from error


def _described(value: Any) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value, {f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, tuple | list):
        return f"({','.join(map(_described, value))})"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key!r}:{_described(value[key])}' for key in sorted(value, key=repr))}}}"
    if isinstance(value, set | frozenset):
        return f"{{{','.join(sorted(map(_described, value)))}}}"
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, type | types.ModuleType):
        return f"{getattr(value, '__module__', 'module')}.{getattr(value, '__qualname__', value.__name__)}"
    if isinstance(value, functools.partial):
        return f"partial({_described(value.func)},{_described(value.args)},{_described(value.keywords)})"
    if isinstance(value, types.CodeType):
        return _described((value.co_name, value.co_code, value.co_consts, value.co_names, value.co_varnames))
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        return f"{array.dtype}{list(array.shape)}:{array.tobytes().hex()}"
    return _callable(value) if callable(value) else _object(value)


def _callable(value: Any) -> str:
    if isinstance(value, types.MethodType):
        return f"{_described(value.__func__)} of {_described(value.__self__)}"
    module = getattr(value, "__module__", None)
    name = f"{module}.{getattr(value, '__qualname__', '')}"
    if _at(module, name) is value:
        return name
    if isinstance(value, types.FunctionType):
        inside = tuple(cell.cell_contents for cell in value.__closure__ or ())
        return f"{name}{_described((value.__code__, value.__defaults__, value.__kwdefaults__, inside))}"
    if hasattr(value, "__wrapped__"):  # of jax.jit, of functools.cache
        return f"{type(value).__qualname__}({_described(value.__wrapped__)})"
    return _object(value)


def _at(module: str | None, name: str) -> Any:
    """What a module has under a dotted name; None where it has nothing."""
    found: Any = sys.modules.get(module or "")
    for part in name.removeprefix(f"{module}.").split("."):
        found = getattr(found, part, None)
    return found


def _object(value: Any) -> str:
    """By its attributes, less what it computed of them; by its `repr` where it has none."""
    if hasattr(value, "__dict__") and not isinstance(value, enum.Enum):
        kept = {name for name in vars(value) if not isinstance(getattr(type(value), name, None), cached_property)}
        return _fields(value, {name: vars(value)[name] for name in sorted(kept)})
    text = repr(value)
    if not isinstance(value, str) and re.search(r" at 0x[0-9a-f]+", text):
        raise ValueError(f"a {type(value).__qualname__} does not show what is in it, as a dataclass does")
    return text


def _fields(value: Any, fields: Mapping[str, Any]) -> str:
    told = ",".join(f"{name}={_described(one)}" for name, one in fields.items())
    return f"{type(value).__module__}.{type(value).__qualname__}({told})"
