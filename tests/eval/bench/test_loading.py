"""The benchmark of loading, on a folder of kilobytes: all readers read all of it, and the line says what was found."""

from __future__ import annotations

import json

import jax
import pytest

from eval.bench import loading


def test_all_readers_read_every_byte_of_the_folder_that_is_written(tmp_path, monkeypatch):
    small = {"hidden_size": 12, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 6, "vocab_size": 31}
    monkeypatch.setattr(loading, "SHAPE", loading.SHAPE | small | {"intermediate_size": 17})
    size_bytes = loading.write_folder(tmp_path, 6_000)
    assert json.loads((tmp_path / "config.json").read_text())["num_hidden_layers"] > 1
    assert size_bytes == pytest.approx(6_000, rel=0.3)
    assert sum(array.nbytes for array in loading.read_bytes(tmp_path)) == size_bytes
    for read in (loading.library, loading.load):
        assert sum(leaf.nbytes for leaf in jax.tree.leaves(read(tmp_path))) == size_bytes


def test_loading_is_compared_with_reading_by_medians_and_by_the_fastest():
    def runs(*ms):
        return [{"held": {"ms": one, "user_ms": one, "system_ms": 1}} for one in ms]

    line = loading.compared({"bytes": runs(5, 2, 7), "safetensors": runs(40, 32), "load": runs(8, 20, 10)}, "held")
    assert line == (
        "held memory: bytes 5 ms (2 to 7; 6 of the processor), safetensors 36 ms (32 to 40; 37 of the processor), "
        "load 10 ms (8 to 20; 11 of the processor); load is 2.00x bytes by the medians, 4.00x by the fastest, "
        "0.28x safetensors by the medians, 0.25x by the fastest"
    )
