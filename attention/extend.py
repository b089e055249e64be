"""The door for variants of other people's, policies, routers and block rules: nothing here is edited for one."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from attention.block_ruled import BlocksByRule
from attention.block_rules import BLOCK_RULES, BlockRule
from attention.call import names_of
from attention.evict import Evict
from attention.evict_after import EvictAfter
from attention.eviction.policy import Policy
from attention.eviction.registry import POLICIES
from attention.mixer import Mixer
from attention.parameters import READABLE, parameter_types
from attention.registry import Registry
from attention.routers import ROUTERS, Router
from attention.token_routed import Routed
from attention.variant import Variant
from attention.variants import VARIANTS

T = TypeVar("T", bound=type)

TAKEN: Final[Mapping[type, frozenset[str]]] = MappingProxyType(
    {
        Policy: frozenset(f.name for kind in (Evict, EvictAfter) for f in dataclasses.fields(kind)),
        Router: frozenset(f.name for f in dataclasses.fields(Routed)),
        BlockRule: frozenset(f.name for f in dataclasses.fields(BlocksByRule)),
    }
)
"""Parameters of the variants that a policy, a router or a rule goes into: a text spells all of them in one call."""

OWED: Final[Mapping[type, tuple[str, ...]]] = MappingProxyType(
    {
        Mixer: ("init_state", "useful", "executed", "limiting_flops"),
        Variant: ("pattern",),
        Policy: ("score",),
        BlockRule: ("per_block", "compared"),
    }
)
"""Methods that nobody says for a subclass."""

REGISTRIES: Final[dict[type, Registry[Any]]] = {
    Mixer: VARIANTS, Policy: POLICIES, Router: ROUTERS, BlockRule: BLOCK_RULES,
}  # fmt: skip


def register(kind: T) -> T:
    """Makes a variant, policy, router or block rule, a class, known by its `name`: to layouts and to every command.

    Returns the class, so that it decorates it.  As objects they work without: `Evict(MyPolicy())`, `[MyVariant(5)]`.

    Raises:
        ValueError: it is none of the four, its name is not one that a layout can spell or another has it, a method
            is missing that each has to say, or a parameter is none that a layout can write: the class is no dataclass,
            its type is not known, or it is called like one of the variant that it goes into.

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
    for fault in _faults(kind, bases[0]):
        raise ValueError(f"{name}: {fault}")
    return REGISTRIES[bases[0]].register(kind)


def _faults(kind: type, base: type) -> Iterator[str]:
    """What keeps a layout from spelling a class, or a model from running it, in words."""
    for of, methods in OWED.items():
        for method in methods if issubclass(kind, of) else ():
            if getattr(kind, method) is getattr(of, method):
                yield f"{method!r} is missing, which each {of.__name__} says itself"
    hints = [hint for cls in kind.__mro__ for hint in inspect.get_annotations(cls).items()]
    of_class = {name for name, hint in hints if "ClassVar" in str(hint)}
    own = parameter_types(kind)
    for name, hint in own.items():
        if name in of_class:
            yield f"{name!r} is the class's own and no parameter: say it without a type"
        elif name in TAKEN.get(base, ()):
            yield f"the variant that it goes into has a parameter {name!r} too; name it otherwise"
        elif hint not in READABLE and names_of(hint) is None:
            known = ", ".join(map(inspect.formatannotation, READABLE))
            yield f"a layout cannot write {name!r} of type {inspect.formatannotation(hint)}; accepted: {known}"
    for name in sorted({name for name, _ in hints} - of_class - own.keys()):
        yield f"{name!r} has a type but is no parameter: @dataclass(frozen=True) belongs above the class"
