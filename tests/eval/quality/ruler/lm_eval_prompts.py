"""Small prompts as lm-eval 0.4.13 makes them, from the golden file."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).parents[3] / "golden" / "ruler.json"


def lm_eval_prompt(name: str) -> tuple[str, tuple[str, ...]]:
    """The prompt and its answers."""
    made = json.loads(FILE.read_text(encoding="utf-8"))[name]
    return made["prompt"], tuple(made["answers"])
