"""`prefillwall completion`: the script that completes the command line in a shell."""

from __future__ import annotations

import argparse
from typing import Any

import shtab

from eval.cost.cards import CARDS

SHELLS = ("bash", "zsh", "fish")

DESCRIPTION = "Prints a completion script: commands, options, their values, models, cards and files."

EXAMPLES = (
    "prefillwall completion bash > ~/.local/share/bash-completion/completions/prefillwall",
    'prefillwall completion zsh > "${fpath[1]}/_prefillwall"',
    "prefillwall completion fish > ~/.config/fish/completions/prefillwall.fish",
)

_ENDS = {"text": shtab.FILE, "data": shtab.FILE, "figure": shtab.FILE, "out": shtab.DIRECTORY, "keep": shtab.DIRECTORY}
"""What options that take a path complete with, by their names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)


def run(options: argparse.Namespace) -> int:
    from eval.cli import build_parser, commands_of  # which imports this module
    from eval.cost.flops.bits import BITS
    from refmodel.packed.codings import codings
    from refmodel.presets import PRESETS

    parser = build_parser()
    files = [shtab.Choice("file")] * (options.shell == "bash")  # the others take words or files, not both
    words: dict[str, list[Any]] = {"model": [*PRESETS, *files], "card": [*CARDS, *files]}
    words["weights"] = [*BITS, *codings()]
    for command in commands_of(parser).values():
        for action in command._actions:
            if action.dest in words:
                action.choices = words[action.dest]
            if action.dest in _ENDS:
                setattr(action, "complete", _ENDS[action.dest])  # noqa: B010 (shtab's own field)
    print(shtab.complete(parser, options.shell))
    return 0
