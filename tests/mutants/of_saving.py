"""Faults in what writes models: tensors, config.json, the key that names a layout, folders that are whole or not there."""

from __future__ import annotations

from tests.mutants.mutant import of

SAVING = "tests/refmodel/saving/"
SAVE, CONFIG, TENSORS, FOLDER = (f"{SAVING}test_{name}.py" for name in ("save", "config_json", "tensors", "new_folder"))

MUTANTS = [
    *of(
        "refmodel/share.py",
        SAVE,
        ("[:, self.start : self.stop]\n        rows[...]", "[:, : self.stop - self.start]\n        rows[...]"),
    ),
    *of("refmodel/parameters.py", SAVE, ("return own.transpose(order).reshape(", "return own.reshape(")),
    *of(
        "refmodel/checkpoint/delta_tensors.py",
        SAVE,
        ("np.log(-decays.astype(np.float64))", "np.log(-decays.astype(np.float32))"),
        ("if (decays > 0).any():", "if (decays > 1).any():"),
    ),
    *of(
        "refmodel/checkpoint/fill.py",
        SAVE,
        ("if path in sources or not leaf.row.of_mixer}", "if not leaf.row.of_mixer}"),
    ),
    *of(
        "refmodel/specification.py",
        (SAVE, "tests/refmodel/test_own_fields.py"),
        ("own = self.own_mixers or tuple(", "own = tuple("),
    ),
    *of(
        "refmodel/saving/config_json.py",
        CONFIG,
        ("return fields if dataclasses.replace(found, name=config.name) == config else None", "return fields"),
        ("for families in (own, FAMILIES.values()):", "for families in (FAMILIES.values(),):"),
    ),
    *of(
        "refmodel/families/config_written.py",
        CONFIG,
        ("if int(share * head_dim // 2) == turning else", "if True else"),
        ("_written_longrope(short, long, original, attention)", "_written_longrope(long, short, original, attention)"),
    ),
    *of(
        "refmodel/own_fields.py",
        ("tests/refmodel/test_own_fields.py", SAVE),
        ('if layout.strip().endswith(".json"):', 'if layout == ".json":'),
        ("if _stored(config) == _stored(base):", "if True:"),
        ('part.refuse_others(("layout", "model_type"))', "pass"),
    ),
    *of(
        "refmodel/saving/tensors.py",
        TENSORS,
        ("held + tensor.n_bytes > most_bytes", "held > most_bytes"),
        ("shards.append([])\n            held = 0", "shards.append([])"),
        ("        of_floats(path, found)\n", ""),
        ("if path not in wanted and", "if False and"),
        (" and not any(one in path for one in left)]", "]"),
        ('[(int(part), "") if part.isdecimal() else (-1, part)', "[(-1, part)"),
    ),
    *of(
        "refmodel/saving/new_folder.py",
        FOLDER,
        ("if others := [path.name for path in held if not _is_own(path)]:", "if others := []:"),
        ("is not None and path.is_file()", "is not None"),
        (r"model(-\d{5}-of-\d{5})?\.safetensors", r"model.*\.safetensors"),
        (
            "    refuse_taken(folder, overwrite=overwrite)\n    if not is_there(folder):\n        made",
            "    if not is_there(folder):\n        made",
        ),
        ("_refuse_held(folder, aside, overwrite=overwrite)", "pass"),
        ("except BaseException:", "except OSError:"),
        ("            if _is_own(path):\n", "            if True:\n"),
        ("if folder.samefile(Path()):", "if False:"),
        ("folder.expanduser().resolve()", "folder.resolve()"),
        ("shutil.rmtree(made, ignore_errors=True)", "pass"),
        ("            aside.rename(folder)\n        raise", "            pass\n        raise"),
        ("if held and not overwrite:", "if held and overwrite:"),
    ),
    *of(
        "refmodel/saving/save.py",
        SAVE,
        ('told["split_special_tokens"] = tokenizer.encode_special_tokens', 'told["split_special_tokens"] = False'),
        ("if len(end_ids) == 1 else", "if end_ids else"),
        ('whole("an end token", one, 0)', "one"),
    ),
]
