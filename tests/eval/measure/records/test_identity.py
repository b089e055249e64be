"""Digests of what is measured: of a model's shape, of token ids, of the project's code."""

from __future__ import annotations

import dataclasses

from attention.evict import Evict
from attention.eviction.knorm import Knorm
from attention.layout import parse_layout
from eval.measure.records import identity
from refmodel.presets import preset

CONFIG = preset("tiny-dense")


def test_a_name_and_a_layout_are_no_shape_and_all_else_is():
    own = identity.config_digest(CONFIG)
    assert identity.config_digest(dataclasses.replace(CONFIG, name="another")) == own
    assert identity.config_digest(CONFIG.with_layout("swa(5)")) == own != identity.layout_digest(CONFIG.layout)
    for change in ({"max_positions": 77}, {"tied_head": not CONFIG.tied_head}, {"layers": CONFIG.layers[1:]}):
        assert identity.config_digest(dataclasses.replace(CONFIG, **change)) != own


def test_a_share_of_the_prompt_is_told_apart_from_others_and_from_its_keys():
    spelt, *others = (parse_layout(f"evict(knorm, budget={budget})", 3) for budget in ("0.50", "1/3", "50"))
    assert len({identity.layout_digest(layout) for layout in (spelt, *others)}) == 3
    assert identity.layout_digest((Evict(Knorm(), budget=0.5),) * 3) == identity.layout_digest(spelt)


def test_tokens_are_read_in_their_order():
    assert len({identity.tokens_digest(ids) for ids in ([1, 2], [2, 1], [1, 2, 0], [])}) == 4
    assert identity.tokens_digest((1, 2)) == identity.tokens_digest([1, 2])


def test_code_is_every_file_of_its_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "__file__", str(tmp_path / "eval" / "measure" / "records" / "identity.py"))
    seen = {identity.code_digest()}
    for folder in identity.SOURCES:
        (file := tmp_path / folder / "deep" / "a.py").parent.mkdir(parents=True)
        for text in ("x = 1", "x = 2"):
            file.write_text(text)
            seen.add(identity.code_digest())
    (tmp_path / "eval" / "report").mkdir()
    (tmp_path / "eval" / "report" / "a.py").write_text("draws what was measured")
    assert identity.code_digest() in seen and len(seen) == 1 + 2 * len(identity.SOURCES)
