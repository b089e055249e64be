"""`prefillwall crossover`: each figure of its table, and what one length leaves out."""

from __future__ import annotations

import json
import re

import pytest

from eval.cli import main
from eval.commands import crossover


@pytest.mark.parametrize(
    ("words", "header", "cheaper"),
    [
        (("--layout", "5*swa(1024)+full"), True, ["1,025"]),
        (("--layouts", "swa(1024)", "full", "swa(9,sinks=7)"), True, ["1,025", "", "17"]),
        (("--layouts", "moba(512,topk=999999)", "evict_after(snapkv)"), True, ["528,515,329", "never"]),
        (("--layouts", "own", "--model", "gemma3-12b"), True, ["1,025"]),
        (("--layouts", "full"), False, []),
    ],
)
def test_crossover_compares_with_full_attention(
    words: tuple[str, ...], header: bool, cheaper: list[str], capsys
) -> None:
    assert main(["crossover", *words, "--tokens", "1024"]) == 0
    printed = capsys.readouterr().out
    assert ("cheaper than full from" in printed) == ("cap (FLOPs)" in printed) == header
    lines = printed.splitlines()[2 : 2 + len(cheaper)]
    for line, figure in zip(lines, cheaper, strict=True):
        *_, found, share = re.split(r"  +", line.rstrip())
        assert share.endswith("%") and (found == figure if figure else found.endswith("%"))


def test_crossover_says_how_much_attention_can_be_saved_at_most(capsys, monkeypatch) -> None:
    words = ["crossover", "--layouts", "full", "msa", "swa(1024)", "--tokens", "1024"]
    assert main(words) == 0
    lines = [re.split(r"  +", line.rstrip()) for line in capsys.readouterr().out.splitlines()[2:5]]
    assert [line[3:5] for line in lines[1:]] == [["16.0x", "2,721"], ["none", "1,025"]] and len(lines[0]) == 5
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["layouts"]
    assert [(one["flops_cap"], one["flops_cap_known"]) for one in found] == [(1.0, True), (16.0, True), (None, True)]
    monkeypatch.setattr(crossover, "speed_up_limit", lambda *models: None)  # as of a variant that does not say
    assert main(["crossover", "--layouts", "swa(7)", "--tokens", "7"]) == 0
    assert re.split(r"  +", capsys.readouterr().out.splitlines()[2])[3] == "unknown"


def test_crossover_says_from_where_on_choosing_costs_most(capsys) -> None:
    assert main(["crossover", "--layouts", "full", "dsa", "moba", "--tokens", "1024"]) == 0
    head, *lines = (re.split(r"  +", line.rstrip()) for line in capsys.readouterr().out.splitlines()[1:5])
    assert head[-2] == "choosing overtakes from"
    assert [line[-2] for line in lines] == ["none", "11,646", "2,622,344"]


def test_crossover_says_what_one_length_leaves_out(capsys) -> None:
    layouts = "evict(streaming, budget=4096, chunk=10000, sinks=0)", "routed(9|11, router=random)+moba(700, topk=2)"
    assert main(["crossover", "--layouts", *layouts, "--tokens", "1024"]) == 0
    printed = capsys.readouterr().out
    assert "chunk=10000, sinks=0): attention overtakes from 19,702, again and for good from 24,830" in printed
    assert "> 1,048,576" in printed and "attention overtakes: not known beyond 1,048,576" in printed
    assert main(["crossover", "--layouts", *layouts, "--tokens", "1024", "--json"]) == 0
    found, _ = (one["crossings"] for one in json.loads(capsys.readouterr().out)["layouts"])
    assert found == {"at": [19_702, 20_866, 24_830], "every_tokens": None, "searched_tokens": None, "count": 2,
                     "stays_from": 24_830}  # fmt: skip


def test_crossover_cuts_cycles_where_the_layers_end_and_says_so(capsys) -> None:
    assert main(["crossover", "--model", "smollm2-135m", "--tokens", "1024", "--json"]) == 0
    found = capsys.readouterr()
    assert found.err == "3*swa(1024)+full: 30 layers: 7 cycles of 4 and 2 layers more\n"
    layouts = [one["layout"] for one in json.loads(found.out)["layouts"]]
    assert layouts[0] == "full" and {"3*swa(1024)+full", "5*swa(1024)+full"} < set(layouts) and len(layouts) == 8
