"""The door for variants, eviction policies and routers of other people's: nothing of the project is edited for one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from attention.evict import Evict
from attention.evict_after import EvictAfter
from attention.eviction.policy import Policy
from attention.eviction.registry import POLICIES
from attention.mixer import Mixer
from attention.registry import Registry
from attention.routers import ROUTERS, Router
from attention.token_routed import Routed
from attention.variants import VARIANTS

T = TypeVar("T", bound=type)

TAKEN: Final[Mapping[type, frozenset[str]]] = MappingProxyType(
    {
        Policy: frozenset(f.name for kind in (Evict, EvictAfter) for f in dataclasses.fields(kind)),
        Router: frozenset(f.name for f in dataclasses.fields(Routed)),
    }
)
"""Parameters of the variants that a policy or a router goes into: a text spells all of them in one call."""

REGISTRIES: Final[dict[type, Registry[Any]]] = {Mixer: VARIANTS, Policy: POLICIES, Router: ROUTERS}


def register(kind: T) -> T:
    """Makes a variant, policy or router, a class, known by its `name`: to layout strings and to every command.

    Returns the class, so that it decorates it.  As objects they work without: `Evict(MyPolicy())`, `[MyVariant(5)]`.

    Raises:
        ValueError: it is none of the three, its name is not one that a layout can spell or another has it, or a
            parameter of a policy or router is called like one of the variant around it.

    Examples:
        >>> import attention
        >>> from attention.eviction.registry import POLICIES
        >>> from attention.eviction.policy import Policy
        >>> class Oldest(Policy):
        ...     name = "oldest"
        ...
        ...     def score(self, state, cached):
        ...         return -cached.slot_s
        >>> with POLICIES.temporarily():  # for this example's time
        ...     print(attention.register(Oldest).name, attention.make("evict(oldest, budget=64)"))
        oldest evict(oldest, budget=64)
    """
    bases = [base for base in REGISTRIES if isinstance(kind, type) and issubclass(kind, base)]
    if not bases:
        wanted = ", ".join(base.__name__ for base in REGISTRIES)
        raise ValueError(f"register takes a subclass of {wanted}, got {kind!r}")
    name = getattr(kind, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        raise ValueError(f"{kind.__name__}: name must be of a-z, 0-9 and _, as layouts spell it, got {name!r}")
    own = {f.name for f in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    if clash := sorted(own & TAKEN.get(bases[0], frozenset())):
        raise ValueError(f"{name}: the variant that it goes into has a parameter {clash[0]!r} too; name it otherwise")
    return REGISTRIES[bases[0]].register(kind)
