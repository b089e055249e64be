"""`python -m eval.bench.api`: writes docs/api.md, the public interface, from signatures and docstrings.

Public is what a package names in `__all__`, and what its registries know by name.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, ForwardRef

from attention.registry import Registry

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = "docs/api.md"
PACKAGES: Final = ("attention", "refmodel", "eval")
MODULES: Final = (
    "attention", "attention.soft_routing", "refmodel", "refmodel.model", "refmodel.train", "refmodel.fit",
    "refmodel.observe", "eval", "eval.testing",
)  # fmt: skip
INTRO: Final = """# The public interface

Made from signatures and docstrings by `python -m eval.bench.api`; a test holds this page to the code. Each docstring
has more: formula, shapes, errors, an example that the tests run. What is not here may change without a word.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRO]
    for name in MODULES:
        module = importlib.import_module(name)
        parts += [f"## {name}\n", f"{_first_sentence(module)}\n"]
        parts += [_entry(f"{name}.{public}", getattr(module, public)) for public in module.__all__]
    parts += ["## Registries\n", "What is known by name. `register` adds to one, from outside too; `find` looks up.\n"]
    parts += [_registry(where, registry) for where, registry in registries()]
    return "\n".join(parts)


def registries() -> Iterator[tuple[str, Registry[Any]]]:
    """Every registry of the three packages, by its full name: module-level names that hold one."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for name in _made_by_registry(path):
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                yield f"{module}.{name}", getattr(importlib.import_module(module), name)


def _made_by_registry(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(value, ast.Call):
            maker = value.func.value if isinstance(value.func, ast.Subscript) else value.func
            (target,) = node.targets if isinstance(node, ast.Assign) else (node.target,)
            if isinstance(maker, ast.Name) and maker.id == "Registry" and isinstance(target, ast.Name):
                yield target.id


def _entry(name: str, thing: Any) -> str:
    lines = [f"### {name}\n", f"{_code(name.rpartition('.')[2], thing)}\n", f"{_first_sentence(thing)}\n"]
    if inspect.isclass(thing):
        for member, value in _members(thing).items():
            if not member.startswith("_") and _is_method(value):
                function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
                lines.append(f"* {_inline(member, function)}: {_first_sentence(function)}")
        lines.append("")
    return "\n".join(lines)


def _members(kind: type) -> dict[str, Any]:
    """Its own, and those of bases that have no entry."""
    public = {
        getattr(importlib.import_module(name), one) for name in MODULES for one in importlib.import_module(name).__all__
    }
    bases = [base for base in kind.__mro__[1:] if base.__module__.split(".")[0] in PACKAGES and base not in public]
    own = dict(vars(kind))
    return own | {name: value for base in bases[::-1] for name, value in vars(base).items() if name not in own}


def _is_method(value: Any) -> bool:
    return inspect.isfunction(value) or isinstance(value, classmethod | staticmethod | property)


def _code(name: str, thing: Any) -> str:
    return f"```python\n{name}{_signature(thing)}\n```"


def _inline(name: str, thing: Any) -> str:
    return f"`{name}`" if isinstance(thing, property) else f"`{name}{_signature(thing)}`"


def _registry(where: str, registry: Registry[Any]) -> str:
    lines = [f"### {where}\n", f"Each is one {registry.what}.\n"]
    for name, thing in registry.items():
        said = _first_sentence(thing) if inspect.isclass(thing) or inspect.isroutine(thing) else ""
        lines.append(f"* {said}" if said.startswith(f"`{name}") else f"* `{name}`: {said}".rstrip(": "))
    return "\n".join([*lines, ""])


class _Bare(str):
    """Prints as it is written, without the quotes of a string."""

    def __repr__(self) -> str:
        return str(self)


def _signature(thing: Any) -> str:
    """As written, on one line; `self` and `cls` left out."""
    signature = inspect.signature(thing)
    parameters = [
        parameter.replace(annotation=_bare(parameter.annotation), default=_default(parameter.default))
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls")
    ]
    returns = signature.empty if inspect.isclass(thing) else _bare(signature.return_annotation)
    return str(signature.replace(parameters=parameters, return_annotation=returns))


def _bare(annotation: Any) -> Any:
    """A name in quotes, as a named tuple keeps it, without them."""
    text = annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation
    return _Bare(text) if isinstance(text, str) else text


def _default(value: Any) -> Any:
    """A value whose text would be an address, or is a long one, is left to the docstring."""
    if value is inspect.Parameter.empty or (len(repr(value)) < 30 and "<" not in repr(value)):
        return value
    return _Bare(value.__name__) if inspect.isclass(value) else _Bare("...")


def _first_sentence(thing: Any) -> str:
    """Of a docstring, with its full stop."""
    paragraph = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.])\s", paragraph + " ")[0].rstrip(".:") + "."


def main() -> None:
    """Rewrites docs/api.md."""
    (ROOT / PAGE).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
