"""Faults in what reads folders: which files count, what is looked at before weights, tokens beside a vocabulary."""

from __future__ import annotations

from tests.mutants.mutant import of

CHECKPOINT, TOKENIZER = "tests/refmodel/checkpoint/", "tests/refmodel/tokenizer/"
FILES, STORED, FORMATS = (f"{CHECKPOINT}test_{name}.py" for name in ("folder_files", "safetensors_folder", "formats"))
TOLD, LIBRARY, FOLDER = (f"{TOKENIZER}test_{name}.py" for name in ("told", "library", "folder"))
SOURCE, GOLDEN = "tests/refmodel/test_source.py", f"{TOKENIZER}test_golden_texts.py"

MUTANTS = [
    *of(
        "refmodel/checkpoint/folder_files.py", FILES,
        ('any(sign in name for sign in "*?[")', 'any(sign in name for sign in "*?")'),
        ("len(name.encode()) > _MOST_BYTES", "len(name.encode()) < _MOST_BYTES"),
        ("if ours.dtype == theirs.dtype and", "if"),
        ('or ".." in kind(name).parts', ""),
    ),
    *of(
        "refmodel/checkpoint/folder_files.py", STORED,
        ("_HEADER_TIMES: Final = 32", "_HEADER_TIMES: Final = 16"),
        ("if length > most:", "if length > 2 * most:"),
        ("min(max(_ANY_HEADER_BYTES,", "min(min(_ANY_HEADER_BYTES,"),
    ),
    *of(
        "refmodel/checkpoint/folder_files.py", FORMATS,
        ('"F8_E4M3": jnp.float8_e4m3fn', '"F8_E4M3": jnp.float8_e5m2'),
    ),
    *of(
        "refmodel/checkpoint/formats.py", FORMATS,
        ("np.broadcast_shapes(numbers, *beside) == numbers", "bool(np.broadcast_shapes(numbers, *beside))"),
    ),
    *of(
        "refmodel/checkpoint/safetensors_folder.py", (FILES, STORED, FORMATS),
        ("if missing := [part for part in beside if part not in files]:", "if missing := []:"),
        ("if files[part].dtype not in types:", "if False:"),
        ("self.described.tied_head and not self._has_head_of_its_own", "self.described.tied_head"),
    ),
    *of(
        "refmodel/checkpoint/hub.py", f"{CHECKPOINT}test_hub.py",
        ('self._with(["generation_config.json"])', 'self._with([SINGLE, "generation_config.json"])'),
    ),
    *of(
        "refmodel/token_ids.py", SOURCE,
        ("if 0 <= number < vocab_size)", "if number < vocab_size)"),
        ("if not 0 <= number < vocab_size]", "if number >= vocab_size]"),
    ),
    *of(
        "refmodel/tokenizer/told.py", TOLD,
        ("if token.content not in known:", "if True:"),
        ("token.special or token.content in named", "True"),
        ("token.special or token.content in named", "token.special"),
        ("tokenizer.encode_special_tokens = told.splits_special", "tokenizer.encode_special_tokens = False"),
        ("number.isdecimal() and len(number) <= _DIGITS", "number.isdecimal()"),
    ),
    *of(
        "refmodel/tokenizer/told.py", GOLDEN,
        ('found | read_json(folder / "special_tokens_map.json")', "found"),
    ),
    *of(
        "refmodel/tokenizer/splits.py", GOLDEN,
        ("return ByteLevel(add_prefix_space=True)", "return ByteLevel(add_prefix_space=False)"),
        ("ByteLevel(add_prefix_space=True, use_regex=False)", "ByteLevel(add_prefix_space=False, use_regex=False)"),
    ),
    *of(
        "refmodel/tokenizer/library.py", LIBRARY,
        ('type(error).__name__ != "PanicException"', 'type(error).__name__ == "PanicException"'),
        ("not isinstance(error, Exception) and", ""),
    ),
    *of(
        "refmodel/tokenizer/tokenizer_json.py", LIBRARY,
        ('not in names:', 'in names:'),
        ('text.get("id") != "A"', 'text.get("id") == "C"'),
        ('"" in pattern.values()', '"x" in pattern.values()'),
    ),
    *of(
        "refmodel/tokenizer/merges.py", (LIBRARY, TOLD),
        ("(left, right, joined)", "(left, right)"),
        ("(left, right, joined)", "(joined,)"),
        ("if not right.startswith(prefix):", "if False:"),
    ),
    *of(
        "refmodel/tokenizer/sentencepiece_file.py", FOLDER,
        ("if shift >= _MOST_BITS:", "if shift >= 10**9:"),
        ("operator.index(piece.get(3, Kind.NORMAL))", "piece.get(3, Kind.NORMAL)"),
    ),
]  # fmt: skip
