"""What is longer than a model is made for: it runs, and is said."""

from __future__ import annotations

import logging

from refmodel.specification import ModelConfig


def say_beyond_context(config: ModelConfig, prompt_tokens: int, most_new: int = 0) -> None:
    """One line in the log `refmodel`, a warning, where a text may grow longer than what the model was trained on."""
    if prompt_tokens + most_new > config.max_positions:
        asked = f" and up to {most_new:,} are asked for" if most_new else ""
        logging.getLogger("refmodel").warning(
            f"{config.name} is made for {config.max_positions:,} tokens; the prompt has {prompt_tokens:,}{asked}: "
            "what comes beyond may make no sense"
        )
