"""`prefillwall retrieve`: what comes back of a long prompt under each layout, by how deep in it it stood."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from eval.commands import arguments, output
from eval.commands.generate import refuse_presets_without_words
from eval.commands.resolve import running_dtype, say_cuts, say_drawn
from eval.measure.device import open_device
from eval.measure.named_layout import named_layouts
from eval.measure.progress import progress_bar
from eval.measure.refuse_layouts import refuse_layouts
from eval.quality.ruler.retrieve import Retrieved, Row, retrieve
from eval.quality.ruler.sample import Sample, Task
from eval.quality.ruler.score import Stretch
from eval.quality.ruler.tasks import TASKS, samples, task_named
from eval.report.number_format import percent
from refmodel.checkpoint.find import find_checkpoint
from refmodel.checkpoint.packing import weights_named
from refmodel.default_model import DEFAULT_MODEL
from refmodel.source import Model, read_model
from refmodel.specification import ModelConfig
from refmodel.token_ids import text_ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LAYOUTS = ("full", "swa(252,sinks=4)", "evict(tova,budget=256,chunk=128)")
USUAL_TASKS = ("passkey", "niah_single_1")
UNABLE = "full attention recalls nothing: the model cannot do this task"

DESCRIPTION = (
    "Hides what is asked for in long prompts (needles, chains of variables, words to count: RULER's tasks) and shows\n"
    "how much of it comes back under each layout, and from how deep.  Every layout gets the same, drawn by --seed."
)

EXAMPLES = (
    "prefillwall retrieve",
    "prefillwall retrieve --tasks passkey --layouts 'swa(124,sinks=4)' --tokens 256 --prompts 2",
    "prefillwall retrieve --tasks niah_multikey_1 vt --layouts '5*swa(508,sinks=4)+full' --tokens 1k 2k --json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser, DEFAULT_MODEL, runs=True)
    arguments.add_layouts(parser, LAYOUTS, also="; full is added")
    parser.add_argument(
        "--tasks", nargs="+", metavar="TASK", default=list(USUAL_TASKS),
        help=f"of {', '.join(task.name for task in TASKS)} (default: {' '.join(USUAL_TASKS)})",
    )  # fmt: skip
    arguments.add_tokens(parser, (1024,))
    parser.add_argument(
        "--prompts", type=arguments.positive, default=5, metavar="N",
        help="of each task and length, at five depths in turn (default: %(default)s)",
    )  # fmt: skip
    arguments.add_device(parser)
    arguments.add_dtype(parser)
    arguments.add_running_weights(parser)
    arguments.add_seed(parser)
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    tasks = [task_named(name) for name in dict.fromkeys(options.tasks)]
    layouts = options.layouts or list(LAYOUTS)
    refuse_presets_without_words(options.model)
    found = find_checkpoint(options.model, options.seed)
    config, tokenizer = found.described, found.tokenizer()  # what is refused is refused before weights are read
    refuse_layouts(layouts, config, trained=found.weights == "checkpoint")
    lengths = list(dict.fromkeys(options.tokens))
    if beyond := [tokens for tokens in lengths if tokens > config.max_positions]:
        raise ValueError(f"{config.name} is made for {config.max_positions:,} tokens, got --tokens {max(beyond):,}")
    asked = {task: _drawn(task, lengths, config, tokenizer, options) for task in tasks}
    model = read_model(
        found, options.model, running_dtype(options, on_gpu=open_device(options.device)), weights_named(options.weights)
    )
    say_cuts(layouts, model.config.n_layers)
    named = named_layouts(layouts, model.config)
    say_drawn(named, model.config, trained=found.weights == "checkpoint")
    models = {
        layout.name: model.with_layout(layout.variants, options.seed)
        for layout in named
    }  # fmt: skip
    with progress_bar(watched=output.is_watched()) as bar:
        going = bar.add_task("asking", total=len(tasks) * len(lengths) * len(models) * options.prompts)
        results = [retrieve(models, task, asked[task], lambda: bar.advance(going)) for task in tasks]
    if options.json:
        output.print_json(_record(model, results, options))
    else:
        _print(model, results, options)
    return 0


def _drawn(
    task: Task, lengths: Iterable[int], config: ModelConfig, tokenizer: Tokenizer, options: argparse.Namespace
) -> Mapping[int, tuple[Sample, ...]]:
    """The samples of each length, counted by the model's own tokenizer."""

    def count_tokens(text: str) -> int:
        return len(text_ids(tokenizer, text, config.vocab_size, options.model))

    return {
        tokens: tuple(
            samples(task.name, tokens=tokens, count=options.prompts, seed=options.seed, count_tokens=count_tokens)
        )
        for tokens in lengths
    }


def _record(model: Model, results: Iterable[Retrieved], options: argparse.Namespace) -> dict[str, Any]:
    return {
        "command": "retrieve", "model": model.config.name, "weights": model.weights_as_held,
        "weight_bits": model.held.bits_per_weight, "weight_bytes": model.held.n_bytes,
        "dtype": model.params["embed"]["embedding"].dtype.name, "seed": options.seed, "prompts": options.prompts,
        "conventions": {
            "tasks": "RULER's (2404.06654), as docs/retrieval.md says; a length is of a prompt and room to answer",
            "mean": "mean over the prompts of the share of answers that the text contains, in any case",
            "by_depth": "answers that were asked for and found, by the share of the haystack before them",
            "choice": "greedy",
            "unable": UNABLE + "; other layouts are not asked",
        },
        "tasks": [
            {
                "task": one.task.name, "about": one.task.about, "new_tokens": one.task.new_tokens, "unable": one.unable,
                "rows": [
                    {"layout": row.layout, "tokens": row.tokens, **asdict(row.recalled)} for row in one.rows
                ],
            }
            for one in results
        ],
    }  # fmt: skip


def _print(model: Model, results: Iterable[Retrieved], options: argparse.Namespace) -> None:
    out = output.console()
    out.print(f"{model.config.name} ({model.weights_as_held} weights), prompts of each task and length: "
              f"{options.prompts:,}, seed {options.seed}", highlight=False)  # fmt: skip
    for one in results:
        if one.unable:
            out.print(f"{one.task.name}, {one.task.about}: {UNABLE}", highlight=False)
        else:
            out.print(_table(one))
    out.print("[dim]score: mean share of the answers that came back; found/asked: answers, by the share of the "
              "haystack before them[/dim]", highlight=False)  # fmt: skip


def _table(one: Retrieved) -> output.Table:
    stretches = one.rows[0].recalled.by_depth
    deep = [f"{100 * x.first:.0f}-{100 * x.last:.0f} % deep" for x in stretches]
    made = output.table(f"{one.task.name}: {one.task.about}", "layout", "tokens", "score", *deep)
    for row in one.rows:
        made.add_row(*_cells(row))
    return made


def _cells(row: Row) -> tuple[str, ...]:
    by_depth = (_share(one) for one in row.recalled.by_depth)
    return row.layout, f"{row.tokens:,}", percent(row.recalled.mean), *by_depth


def _share(one: Stretch) -> str:
    """`3/4`, or a dash where nothing stood so deep."""
    return f"{one.found:,}/{one.asked:,}" if one.asked else "-"
