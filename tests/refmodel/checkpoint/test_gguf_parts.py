"""Split GGUF files, and GGUF files by their first bytes: read whole, or refused in one line."""

from __future__ import annotations

import shutil
import struct

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.checkpoint.find import open_config
from refmodel.checkpoint.gguf_header import read_header
from tests.checkpoints import load
from tests.refmodel.checkpoint.test_gguf_file import LLAMA, random_model, write_file


def split(folder, tensors, count=3):
    """The tensors of a file in so many parts, after llama.cpp's gguf-split; the first part has the settings."""
    whole = write_file(folder / "whole.gguf", "llama", {})
    names, paths = list(tensors), []
    for number in range(count):
        path = folder / f"m-{number + 1:05d}-of-{count:05d}.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        if number == 0:
            settings = read_header(whole).settings
            settings.pop("general.architecture")
            kinds = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}
            for key, value in settings.items():
                kinds[type(value)](key, value)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", count)
        writer.add_int32("split.tensors.count", len(names))
        for name in names[number::count]:
            writer.add_tensor(name, np.ascontiguousarray(tensors[name], np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        paths.append(path)
    return paths


@pytest.mark.parametrize("given", [0, 2])
def test_the_parts_beside_it_are_read(tmp_path, given):
    params, tensors = random_model("llama")
    paths = split(tmp_path, tensors)
    config, found = load(paths[given], jnp.float32)
    assert config == LLAMA and not config.tied_head  # the head is in the last part
    jax.tree.map(np.testing.assert_array_equal, found, params)


def test_costs_are_not_taken_from_a_part(tmp_path):
    paths = split(tmp_path, random_model("llama")[1])
    shutil.copy(paths[0], tmp_path / "renamed.gguf")
    with pytest.raises(ValueError, match=r"renamed.gguf is part 1 of 3 of a split GGUF file; its parts are found by"):
        open_config(str(tmp_path / "renamed.gguf"))
    shutil.copy(paths[1], paths[2])
    with pytest.raises(ValueError, match=r"m-00003-of-00003.gguf: split.no and split.count are \(1, 3\); its name"):
        open_config(str(paths[0]))
    paths[2].unlink()
    with pytest.raises(ValueError, match=r"part 1 of 3 of a split GGUF file; m-00003-of-00003.gguf is missing"):
        open_config(str(paths[0]))


@pytest.mark.parametrize("name", ["sha256-0123", "M.GGUF", "weights.bin"])
def test_a_file_is_known_by_its_first_bytes(tmp_path, name):
    write_file(tmp_path / name, "llama", random_model("llama")[1])
    assert load(tmp_path / name, jnp.float32)[0] == LLAMA


def test_layers_that_predict_further_tokens_are_left_out(tmp_path):
    from refmodel.checkpoint import open_checkpoint

    params, tensors = random_model("llama")
    path = write_file(tmp_path / "m.gguf", "llama", tensors | {"blk.3.nextn.eh_proj.weight": np.ones((2, 3))},
                      **{"llama.block_count": 4, "llama.nextn_predict_layers": 1})  # fmt: skip
    opened = open_checkpoint(path)
    assert opened.config == LLAMA
    jax.tree.map(np.testing.assert_array_equal, opened.params(jnp.float32), params)
    assert opened.remarks() == [f"{path}: left out: 1 tensors that predict tokens beyond the next"]


def header(*settings: bytes, tensors: bytes = b"", n_tensors: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, len(settings)) + b"".join(settings) + tensors


def text(word: str) -> bytes:
    return struct.pack("<Q", len(word)) + word.encode()


def listed(name: str, axes: tuple[int, ...], offset: int = 0, kind: int = 0) -> bytes:
    """A tensor of the header, of type F32."""
    return text(name) + struct.pack(f"<I{len(axes)}QIQ", len(axes), *axes, kind, offset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GGUF", "ValueError"),
        (header(version=1), "version 1; accepted: 2, 3"),
        (header(version=3 << 16), "byte order is not this machine's"),
        (header(text("a") + struct.pack("<IQ", 8, 1 << 40)), "ends within a text"),
        (header(text("a") + struct.pack("<IIQ", 9, 4, 1 << 60)), "ValueError|OverflowError|MemoryError"),
        (header(text("a") + struct.pack("<I", 77)), "77 is not a valid GGUFValueType"),
        (header(*[text("a") + struct.pack("<IB", 7, 1)] * 2), "a is there twice"),
        (header(text("general.alignment") + struct.pack("<II", 4, 0)), "general.alignment is 0"),
        (header(text("general.alignment") + struct.pack("<II", 4, 48)), "general.alignment is 48, no power of 2"),
        (
            header(text("general.alignment") + struct.pack("<I", 8) + text("32")),
            "general.alignment must be of type int, got '32'",
        ),
        (header(text("a") + struct.pack("<IIQ", 9, 10, 2**22)), "4,194,305 items; accepted: at most 4,194,304"),
        (header(text("a") + struct.pack("<IIQ", 9, 10, 2**22 - 1)), "it ends within its header"),
        (header(tensors=listed("t", (0,)), n_tensors=1), r"t has shape \(0,\); accepted: sizes from 1 to"),
        (header(tensors=listed("t", (2**31,)), n_tensors=1), r"t has shape \(2147483648,\); accepted"),
        (
            header(tensors=listed("a", (8,)) + listed("t", (8,)), n_tensors=2),
            "t begins at 0 of the data; accepted: 32, behind the",
        ),
        (header(tensors=listed("t", (8,), 32), n_tensors=1), "t begins at 32 of the data; accepted: 0, behind the"),
        (header(tensors=listed("t", (8,)) + listed("t", (8,), 32), n_tensors=2), "tensor t is there twice"),
        (
            header(tensors=listed("a", (8,), 0, 999) + listed("b", (8,), 7), n_tensors=2),
            "b begins at 7 of the data; accepted: a multiple of 32",
        ),
        (
            header(tensors=listed("t", (8,)) + listed("u", (8,), 32), n_tensors=1) + bytes(96),  # its data begin later
            "bytes lie behind the last of its 1 tensors",
        ),
        (header(tensors=text("t") + struct.pack("<I", 9), n_tensors=1), "t has 9 axes; accepted: 1 to 4"),
        (header(tensors=text("t") + struct.pack("<IQIQ", 1, 7, 8, 0), n_tensors=1), "t has rows of 7; Q8_0 stores 32"),
        (header(n_tensors=1 << 50), "1,125,899,906,842,624 tensors; accepted: at most 131,072"),
        (header(n_tensors=1), "error: unpack_from"),
    ],
)
def test_a_broken_header_is_refused_in_one_line(tmp_path, content, message):
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(ValueError, match=rf"m.gguf: not a readable GGUF file .*({message})") as caught:
        open_config(str(tmp_path / "m.gguf"))
    assert "\n" not in str(caught.value)


def test_a_file_that_ends_early_or_has_an_unknown_type_still_has_its_costs(tmp_path):
    path = write_file(tmp_path / "m.gguf", "llama", random_model("llama")[1])
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert open_config(str(path)) == LLAMA
    with pytest.raises(ValueError, match=r"m.gguf ends before its tensor blk.2.ffn_down.weight does: fetch the file"):
        load(path, jnp.float32)
    place = whole.index(b"blk.1.ffn_up.weight") + len("blk.1.ffn_up.weight") + 4 + 16
    path.write_bytes(whole[:place] + struct.pack("<I", 999) + whole[place + 4 :])
    assert open_config(str(path)) == LLAMA
    with pytest.raises(ValueError, match=r"blk.1.ffn_up.weight is stored as type 999, .*; take the file in another"):
        load(path, jnp.float32)


def test_a_file_that_ends_before_its_factors_still_has_its_costs(tmp_path):
    """Such as Llama 3.1's, whose positions are a tensor."""
    factors = {"rope_freqs.weight": np.full(8, 2.0, np.float32)}
    path = write_file(tmp_path / "m.gguf", "llama", random_model("llama")[1] | factors)
    whole = open_config(str(path))
    path.write_bytes(path.read_bytes()[:-20])
    found = open_config(str(path))
    assert found.cannot_run == f"{path} ends before its tensor rope_freqs.weight does: fetch the file again"
    assert (found.params, found.linear_macs) == (whole.params, whole.linear_macs) and not whole.cannot_run


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("split.count", "3", "of type int, got '3'"),
        ("split.no", "0", "of type int, got '0'"),
        ("split.no", -1, "from 0 to 2,147,483,647, got -1"),
    ],
)
def test_what_a_part_says_of_itself_is_looked_at(tmp_path, key, value, wanted):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    for name, one in ({"split.count": 3, "split.no": 0} | {key: value}).items():
        (writer.add_string if isinstance(one, str) else writer.add_int32)(name, one)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ValueError, match=f"m.gguf: {key} must be {wanted}"):
        open_config(str(tmp_path / "m.gguf"))


def test_a_description_of_far_more_tensors_than_there_are_is_refused_before_they_are_listed(tmp_path):
    path = write_file(tmp_path / "m.gguf", "llama", random_model("llama")[1], **{"llama.block_count": 9_999})
    with pytest.raises(ValueError, match=r"m.gguf has 30 tensors; the model that it describes has 89,994"):
        load(path, jnp.float32)
