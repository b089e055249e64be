"""The transformer that a token goes through, a pure function of its parameters: `load` gives a `Model`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refmodel.beside import refuse_foreign

refuse_foreign("attention")  # before it is imported: a user's attention.py would run

from attention.lazy import lazy_names  # noqa: E402

if TYPE_CHECKING:
    from refmodel.source import Model
    from refmodel.source import open_model as load
else:
    __getattr__, __dir__ = lazy_names(__name__, {"Model": "refmodel.source", "load": "refmodel.source:open_model"})

__all__ = ["Model", "load"]
