"""`python -m eval.bench.results`: writes the README's figures from kept records, so that none is typed by hand.

python -m eval.bench.results                     README.md from eval/results/
python -m eval.bench.results --keep out/compare  first keeps that run's records and plot
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from eval.bench.gpu_results import gpu_figures
from eval.measure import records
from eval.report import plots
from eval.report.documents import crossovers
from eval.report.summary import Summary, summarise
from eval.report.tables import crossover_table, gain_table, quality_table, time_table
from refmodel.presets import preset

ROOT = Path(__file__).parents[2]
KEPT = Path("eval/results/smollm2-cpu")
BEGIN, END = "<!-- figures: python -m eval.bench.results -->\n", "<!-- end of figures -->"
GPU_BEGIN, GPU_END = "<!-- GPU figures: python -m eval.bench.results -->\n", "<!-- end of GPU figures -->"


def figures(root: Path = ROOT) -> str:
    """The Markdown between the README's marks, from the kept records under `root`."""
    (summary,) = _summaries(root)
    at_longest = summary.at_longest()
    environment = summary.records[0]["environment"]
    tables = (
        time_table(at_longest),
        gain_table(at_longest, "whole"),
        gain_table(at_longest, "attention"),
        crossover_table(summary, *crossovers(summary)),
        quality_table(summary),
    )
    intro = (
        f"{summary.config.name} in {summary.dtype} on {environment['cores']} cores of an {environment['cpu']}, "
        f"jax {environment['jax']}, from the records in `{KEPT}/records.jsonl`:\n"
    )
    picture = f"![Prefill time against prompt length]({KEPT}/cost.png)\n"
    return "\n".join([intro, picture, *(table.to_markdown().replace("## ", "### ", 1) for table in tables)])


def whole_readme(readme: str, root: Path = ROOT) -> str:
    """`readme` with all figures as the kept records give them."""
    return spliced(spliced(readme, figures(root), BEGIN, END), gpu_figures(root), GPU_BEGIN, GPU_END)


def spliced(readme: str, figures: str, begin: str, end: str) -> str:
    """`readme` with `figures` between two marks."""
    before, found, rest = readme.partition(begin)
    _, ends, after = rest.partition(end)
    if not (found and ends):
        raise ValueError(f"README.md lacks the line {begin.strip()!r} or {end!r}")
    return f"{before}{begin}\n{figures}\n{end}{after}"


def main(argv: Sequence[str] | None = None) -> None:
    """Rewrites README.md in place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a comparison whose records become the kept ones")
    options = parser.parse_args(argv)
    if options.keep:
        (ROOT / KEPT).mkdir(parents=True, exist_ok=True)
        shutil.copy(options.keep / "records.jsonl", ROOT / KEPT / "records.jsonl")
        (summary,) = _summaries(ROOT)
        plots.save(plots.cost_figure(summary, *crossovers(summary)), ROOT / KEPT / "cost.png")
    readme = ROOT / "README.md"
    readme.write_text(whole_readme(readme.read_text(encoding="utf-8")), encoding="utf-8")


def _summaries(root: Path) -> tuple[Summary, ...]:
    kept = records.latest(records.read(root / KEPT / "records.jsonl"))
    return summarise(kept, preset("smollm2-135m"))


if __name__ == "__main__":
    main()
