"""What a model brings back under each of several layouts, as far as it can do the task at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from eval.quality.ruler.sample import Sample, Task
from eval.quality.ruler.score import Answered, Recalled, recalled
from refmodel.source import Model


def answered(model: Model, task: Task, samples: Sequence[Sample]) -> Iterator[Answered]:
    """What the model says to each sample, greedily, under its own layout: at most the task's tokens to answer.

    Raises `ValueError` as `Model.generate`: a model without a tokenizer, a layout that does not take the prompt.
    """
    return (Answered(sample, model.generate(sample.prompt, task.new_tokens)) for sample in samples)


@dataclass(frozen=True)
class Row:
    """What came back under one layout at one length."""

    layout: str
    tokens: int
    recalled: Recalled


@dataclass(frozen=True)
class Retrieved:
    """What came back of one task.

    Attributes:
        rows: by layout and length, those of the first layout first; of it alone where it recalls nothing.
    """

    task: Task
    rows: tuple[Row, ...]

    @property
    def unable(self) -> bool:
        """Whether the model cannot do the task: under the first layout, full attention, nothing came back."""
        return not any(row.recalled.mean for row in self.rows if row.layout == self.rows[0].layout)


def retrieve(
    models: Mapping[str, Model], task: Task, samples: Mapping[int, Sequence[Sample]],
    on_answer: Callable[[], None] = lambda: None,
) -> Retrieved:  # fmt: skip
    """Asks the models, one a layout and full attention first, the same samples, by the length that they fill.

    Where nothing comes back of the first one at any length, the others are not asked: what they lose cannot be told.
    `on_answer` is called after each answer.
    """
    rows: list[Row] = []
    for layout, model in models.items():
        for tokens, asked in samples.items():
            said = []
            for one in answered(model, task, asked):
                said.append(one)
                on_answer()
            rows.append(Row(layout, tokens, recalled(said)))
        if Retrieved(task, tuple(rows)).unable:
            break
    return Retrieved(task, tuple(rows))
