"""What is said of the layouts that a command line names."""

from __future__ import annotations

import pytest

from eval.commands.resolve import say_drawn
from eval.measure.named_layout import named_layouts
from refmodel.presets import preset


@pytest.mark.parametrize(
    ("specs", "trained", "said"),
    [
        (["qsa(8)+swa(5)", "msa(5, topk=2)"], True, ["qsa(budget=8):", "msa(block=5, topk=2):"]),
        (["qsa(8)+swa(5)"], False, []),
        (["swa(5)", "moba(5, topk=2)"], True, []),
    ],
)
def test_parameters_that_a_trained_model_lacks_are_said_to_be_drawn(specs, trained, said, capsys):
    config = preset("tiny-dense")
    say_drawn(named_layouts(specs, config), config, trained=trained)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" its own parameters are drawn, for tiny-dense has none")[0] for line in lines] == said


def test_a_models_own_index_is_its_own(capsys):
    config = preset("tiny-dense").with_layout("msa(5, topk=2)")
    say_drawn(named_layouts(["msa(5, topk=2)"], config), config, trained=True)
    assert not capsys.readouterr().err
