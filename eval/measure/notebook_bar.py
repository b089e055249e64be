"""How far a sweep is, in a notebook: stderr is no terminal there, and no cursor moves."""

from __future__ import annotations

import sys
from typing import Any

from rich.progress import Progress, TaskID

_CELLS = 30


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class NotebookBar(Progress):
    """A line among the cell's outputs that is written anew, and empty when done; it needs no widgets."""

    def __init__(self) -> None:
        super().__init__(disable=True)

    def start(self) -> None:
        from IPython.display import display

        self._output = display(_line(""), raw=True, display_id=True)

    def stop(self) -> None:
        self._output.update(_line(""), raw=True)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._show()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._show()

    def _show(self) -> None:
        said = (f"{task.description} {_bar(task.percentage / 100)} {task.percentage:3.0f}%" for task in self.tasks)
        self._output.update(_line("\n".join(said)), raw=True)


def _bar(share: float) -> str:
    filled = round(_CELLS * share)
    return "━" * filled + "─" * (_CELLS - filled)


def _line(text: str) -> dict[str, str]:
    return {"text/plain": text}
