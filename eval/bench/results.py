"""`python -m eval.bench.results`: writes the figures of README.md and docs/results.md from kept records, so that none
is typed by hand.

python -m eval.bench.results                     both pages and the README's pictures, from eval/results/
python -m eval.bench.results --keep out/compare  first keeps that run's records and plot
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from eval.bench import cpu_results, gpu_results, packed_results, pictures, recall_results
from eval.report import plots
from eval.report.run_facts import crossovers

ROOT: Final = Path(__file__).parents[2]
END: Final = "<!-- end of figures -->"

README: Final = "README.md"
RESULTS: Final = "docs/results.md"
MARKS: Final[Mapping[tuple[str, str], Callable[[Path], str]]] = {
    (README, "what was found"): lambda root: _bare(
        cpu_results.found_table(cpu_results.cpu_summary(root)).to_markdown()
    ),
    (RESULTS, "figures on a CPU"): lambda root: cpu_results.cpu_figures(cpu_results.cpu_summary(root)),
    (RESULTS, "figures on a GPU"): gpu_results.gpu_figures,
    (RESULTS, "figures of weights of few bits"): packed_results.packed_figures,
    (RESULTS, "figures of associative recall"): recall_results.recall_figures,
}
"""Page and name of a mark; what stands between that mark and the next END."""

PICTURES: Final[Mapping[Path, tuple[Path, Callable[[Path], Figure]]]] = {
    Path("eval/results/wall.png"): (
        gpu_results.VARIANTS,
        lambda root: pictures.wall_figure(gpu_results.variants_summary(root)),
    ),
    Path("eval/results/worth.png"): (
        cpu_results.SOURCE,
        lambda root: pictures.worth_figure(cpu_results.cpu_summary(root)),
    ),
}
"""The README's pictures: the records that each is drawn from, and how."""


def mark(name: str) -> str:
    """The line after which figures stand."""
    return f"<!-- {name}: python -m eval.bench.results -->\n"


def whole_page(page: str, text: str, root: Path = ROOT) -> str:
    """`text` of `page` with all its figures as the kept records under `root` give them."""
    for (where, name), figures in MARKS.items():
        if where == page:
            text = spliced(page, text, figures(root), name)
    return text


def spliced(page: str, text: str, figures: str, name: str) -> str:
    """`text` with `figures` after the mark of that name.  Raises `ValueError` for a page without it."""
    before, found, rest = text.partition(mark(name))
    _, ends, after = rest.partition(END)
    if not (found and ends):
        raise ValueError(f"{page} lacks the line {mark(name).strip()!r} or {END!r}")
    return f"{before}{mark(name)}\n{figures}\n{END}{after}"


def main(argv: Sequence[str] | None = None) -> None:
    """Rewrites both pages and both pictures in place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a comparison whose records become the kept ones")
    options = parser.parse_args(argv)
    if options.keep:
        _keep(options.keep)
    for picture, (records, figure) in PICTURES.items():
        pictures.save(figure(ROOT), ROOT / picture, ROOT / records)
    for page in dict.fromkeys(page for page, _ in MARKS):
        text = (ROOT / page).read_text(encoding="utf-8")
        (ROOT / page).write_text(whole_page(page, text), encoding="utf-8")


def _keep(folder: Path) -> None:
    kept = ROOT / cpu_results.SOURCE
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "records.jsonl", kept)
    summary = cpu_results.cpu_summary(ROOT)
    figure = plots.cost_figure(summary, *crossovers(summary))
    if figure is not None:
        plots.save(figure, kept.parent / "cost.png")


def _bare(markdown: str) -> str:
    """A table without its title, where the page's own heading says it."""
    return markdown.split("\n", 2)[2]


if __name__ == "__main__":
    main()
