"""The command `prefillwall`."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NoReturn

from attention.unknown import unknown
from eval.commands.plugins import add_plugin, load_plugins
from eval.cost.file_errors import refusal
from eval.measure.interrupt import listen

COMMANDS: Final = MappingProxyType(
    {
        "compare": "measure layouts against full attention: FLOPs, time, crossover, quality",
        "quality": "perplexity and divergence from full attention of layouts, on a text",
        "retrieve": "what comes back of long prompts under layouts, by how deep it stood: RULER's tasks",
        "report": "draw the report of a comparison's records again, without measuring",
        "generate": "continue a prompt under any layout",
        "save": "a model, under any layout, as a Hugging Face folder",
        "flops": "FLOPs and bytes of a step: useful, and executed by closed form, trace and compiler",
        "crossover": "where attention overtakes the linear layers, per layout",
        "variants": "attention variants: their parameters, who sees whom, and what that costs",
        "audit": "what holds of a variant: causal, in any steps the same, counted as it runs",
        "atlas": "where the wall stands for every known model: crossovers, break-evens, caches, what fits a card",
        "models": "known model shapes: parameters, FLOPs per token, crossover",
        "cards": "peak rates, bandwidths and memory, with their sources",
        "post": "the founding post's table and figure, under its convention and counted exactly",
        "predict": "prefill rates of any length on an R9700, from what others published",
        "validate": "predicted prefill rates against published ones, with the error of every row",
        "lower": "compile for a GPU that is not there: memory, registers, spills, LDS, WMMA, predicted time",
        "completion": "print the script that completes this command line in a shell",
    }
)
"""Modules of `eval.commands`, each with `DESCRIPTION`, `EXAMPLES`, `add_arguments(parser)` and `run(options)`.

Only the one that is asked for is imported: most of them bring JAX.
"""

BAD_INPUT: Final = 2
INTERRUPTED: Final = 130

EPILOG: Final = """exit codes:
  0    fine
  1    a check failed: counts disagree, a program does not pass, nothing could be measured
  2    bad input, or more than memory holds: one line on stderr says what was wrong and what is accepted
  130  interrupted

Each command has examples: prefillwall COMMAND --help.  All but completion take --json: one object on stdout that names
its conventions, and nothing there where the input is bad (status 2); whatever else is said goes to stderr."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command, that of the process where none is given; bad input ends in one line on stderr and status 2."""
    if argv is not None:
        return _run(list(argv))
    interrupt = listen()
    try:
        return _run(sys.argv[1:])
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # while the interpreter ends there is nothing to interrupt
        if interrupt.told:
            _leave()  # what came of it on its way is no error
        gc.freeze()  # the interpreter's end looks for garbage among what is no more needed: a tenth of a second


def _leave() -> NoReturn:
    """Ends an interrupted process as it is: XLA's threads may still use what an orderly end would take from them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(INTERRUPTED)


def _run(words: list[str]) -> int:
    try:
        options = parse(words)
        status = options.run(options)
        sys.stdout.flush()  # a reader that has gone away is noticed here and not at the interpreter's end
        return status
    except BrokenPipeError:  # `prefillwall ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, NotImplementedError, MemoryError, FloatingPointError) as error:
        return _refused(words[:1], error)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        return _refused(words[:1], error)
    except KeyboardInterrupt:
        print("interrupted" + "; --resume goes on" * ("compare" in words[:1]), file=sys.stderr)
        return INTERRUPTED


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options of one command; `run` is its function, `words` what was given.  Bad words end it with status 2."""
    load_plugins(words)
    parser = build_parser([word for word in words if word in COMMANDS][:1])
    if not words:
        parser.error(f"a command is wanted; accepted: {', '.join(COMMANDS)}")
    options, surplus = parser.parse_known_args(words)
    if surplus:
        _refuse(commands_of(parser)[options.command], surplus[0])
    options.words = tuple(words)
    return options


def build_parser(wanted: Collection[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The command line: the arguments of the wanted commands, and the names of all."""
    parser = Parser(
        prog="prefillwall",
        description="What an attention variant costs in prefill, and what it is worth.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action=Version, help="print the version, and end")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        made = subparsers.add_parser(name, help=summary)
        if name in wanted:
            with _not_collecting():
                module = importlib.import_module(f"eval.commands.{name}")
            made.description = module.DESCRIPTION
            made.epilog = "\n  ".join(["examples:", *module.EXAMPLES])
            module.add_arguments(made)
            add_plugin(made)
            made.set_defaults(run=module.run)
    return parser


@contextlib.contextmanager
def _not_collecting() -> Iterator[None]:
    """Imports make what stays: looking for garbage among JAX's modules finds none, and is a tenth of the start."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class Parser(argparse.ArgumentParser):
    """Errors of one line, with the nearest word where one was misspelt."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(BAD_INPUT)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            what = action.option_strings[0] if action.option_strings else action.dest
            raise argparse.ArgumentError(None, unknown(what, str(value), map(str, action.choices)))


class Version(argparse._VersionAction):
    """Asks for the version only where somebody wants it: sources on a path are no installed package."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import importlib.metadata  # here, for it parses mail

        try:
            print(f"{parser.prog} {importlib.metadata.version('prefillwall')}")
        except importlib.metadata.PackageNotFoundError:
            parser.error("the version is known once the package is installed, such as by pip install --editable .")
        parser.exit()


def commands_of(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """The parser of each command."""
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices


def _refuse(parser: argparse.ArgumentParser, word: str) -> NoReturn:
    """A word that no argument of the command took."""
    if not word.startswith("-"):
        parser.error(f"one word too many: {word!r}; see {parser.prog} --help")
    options = (max(action.option_strings, key=len) for action in parser._actions if action.option_strings)
    parser.error(unknown("option", word.partition("=")[0], options))


def _refused(command: Sequence[str], error: Exception) -> int:
    print(f"{' '.join(['prefillwall', *command])}: {_one_line(error)}", file=sys.stderr)
    return BAD_INPUT


def _is_out_of_memory(error: RuntimeError) -> bool:
    from jax.errors import JaxRuntimeError  # here, for `prefillwall cards` does without JAX

    return isinstance(error, JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return refusal(error)
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"out of memory: {said}" if said else "out of memory"
    return said or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
