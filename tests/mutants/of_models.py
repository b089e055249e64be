"""Faults in what a model is read to be, in how its layers are run, and in what is drawn for it."""

from __future__ import annotations

from tests.mutants.mutant import of

HERE = "tests/refmodel/"
PLAN, READ, POSITIONS = (f"{HERE}test_{name}.py" for name in ("plan", "read_config", "positions"))
FIELDS = f"{HERE}families/test_config_fields.py"
GEMMA, GEMMA4 = (f"{HERE}families/test_gemma{version}.py" for version in (3, 4))
FOLDERS = f"{HERE}checkpoint/test_safetensors_folder.py"
FILES = f"{HERE}checkpoint/test_folder_files.py"
PIECES = tuple(f"{HERE}tokenizer/test_{name}.py" for name in ("folder", "golden_texts", "gguf"))

MUTANTS = [
    *of(
        "refmodel/ends.py", "tests/refmodel/test_ends.py",
        ("    check_token_ids(tokens, config.vocab_size)\n", ""),
        ("if config.embedding_scale == 1 else", "if config.embedding_scale > 1 else"),
    ),
    *of(
        "refmodel/plan.py", PLAN,
        ("if config.n_layers < 2 * cycle_layers:", "if config.n_layers < cycle_layers:"),
        ("min(max(left - run.first, 0), run.count)", "min(left, run.count)"),
        ("seen.total(), seen[layer.stack_name]))", "seen.total(), seen.total()))"),
        ("self.repeats * run.count + more", "self.repeats * run.count"),
    ),
    *of(
        "refmodel/model.py", f"{HERE}test_ids_outside.py",
        ("np.asarray(positions_bt) < 0, 0, tokens_bt", "np.asarray(positions_bt) < 1, 0, tokens_bt"),
        ("np.asarray(positions_bt) < 0, 0, tokens_bt", "np.asarray(positions_bt) < -1, 0, tokens_bt"),
        ("config.vocab_size)\n", "config.vocab_size + 1)\n"),
    ),
    *of(
        "refmodel/schedule.py", "tests/eval/cost/flops/test_closed_form.py",
        ("start + chunk >= tokens", "start + chunk > tokens"),
        ("self.prompt < 0 or self.start", "self.start"),
        ("< self.prompt < self.start + self.tokens", "< self.prompt < self.tokens"),
        ("range(context_tokens, capacity))", "range(context_tokens + 1, capacity))"),
    ),
    *of(
        "refmodel/families/positions.py", (FIELDS, READ, POSITIONS),
        ('group = "rope_scaling" if fields', 'group = "rope_parameters" if fields'),
        ("if low >= high:", "if low > high:"),
        ("if group.get(key, float, 0.0) else usual", "if group.get(key, float, 1.0) else usual"),
        ("yarn_attention(factor, scales[0]) / yarn_attention(factor, scales[1])", "yarn_attention(factor, scales[1]) / yarn_attention(factor, scales[0])"),
        ("context.max_positions / _original(group, context)", "_original(group, context) / context.max_positions"),
        ("if not len(numbers) == len(found) == count:", "if not len(numbers) == count:"),
    ),
    *of(
        "refmodel/families/gemma3.py", GEMMA,
        ("Full() if (i + 1) % every == 0", "Full() if i % every == 0"),
        ("else query_scale**-0.5", "else query_scale**0.5"),
        ("Norm(norm_eps, offset=1.0, after=True)", "Norm(norm_eps, offset=0.0, after=True)"),
        ("embedding_scale=d_model**0.5", "embedding_scale=1.0"),
        ("if n_layers == 62 else", "if n_layers == 48 else"),
        ("local if isinstance(mixer, SlidingWindow) else world, att", "world, att"),
    ),
    *of(
        "refmodel/families/gemma4.py", GEMMA4,
        ("kinds = [*kinds[:-1], FULL]", "kinds = [*kinds]"),
        ('attention_bias.replace("v", "") if values_are_keys else', "attention_bias if values_are_keys else"),
        ('get("num_global_key_value_heads", int, k) if values_are_keys', 'get("num_global_key_value_heads", int, k) if k'),
        ("if each.keys() != world or len(sizes) != 1:", "if len(sizes) != 1:"),
    ),
    *of(
        "refmodel/families/gemma4_header.py", GEMMA4,
        ('attn_v.weight" not in header.tensors', 'attn_v.weight" in header.tensors'),
        ("len(each) != len(sees_all) or len(of_kind) > 1:", "len(each) != len(sees_all):"),
        ("isinstance(count, int) for count in each", "count for count in each"),
        ("own.above_0(\"final_logit_softcapping\")", "own.get(\"final_logit_softcapping\", float)"),
        (", rope_factors=lambda *_: None)", ")"),
    ),
    *of(
        "refmodel/feed_forward.py", f"{HERE}test_gemma4_model.py::test_dense_beside_experts_is_what_a_loop_in_float64_computes",
        ("read_btd *= x_btd.shape[-1] ** -0.5", "read_btd *= 1.0"),
        ('self.chosen(norm("experts_norm", x_btd),', 'self.chosen(norm("experts_norm", normed_btd),'),
    ),
    *of(
        "refmodel/rope_scaling.py", GEMMA4,
        ("np.arange(head_dim // 2) < self.turning", "np.arange(head_dim // 2) <= self.turning"),
    ),
    *of(
        "refmodel/families/qwen3_moe.py", READ,
        ('fields.get("num_local_experts", int) if experts is None', 'fields.get("num_local_experts", int) if experts'),
        ("[FULL if window is None else SLIDING]", "[FULL if window else SLIDING]"),
    ),
    *of(
        "refmodel/checkpoint/stored_names.py", FOLDERS,
        ("if layer >= n_layers and", "if layer > n_layers and"),
        ("        if own in found:", "        if name in found:"),
        ('return f"model.{stored}" if', "return stored if"),
    ),
    *of(
        "refmodel/checkpoint/recognise.py", FILES,
        ('b"tjgg"', 'b"ggjt"'),
        ("if path.suffix in _PICKLED:", "if path.suffix in _PICKLED[1:]:"),
        ("file.read(max(map(len, magics)))", "file.read(min(map(len, magics)) - 1)"),
    ),
    *of(
        "refmodel/json_object.py", f"{HERE}tokenizer/test_told.py",
        ("if path.stat().st_size > (most", "if path.stat().st_size < (most"),
        ("    regular_file(path)\n", ""),
    ),
    *of(
        "refmodel/tokenizer/pieces.py", PIECES,
        ("key=lambda place: -pieces.scores[place]", "key=lambda place: pieces.scores[place]"),
        ("key=len, reverse=True", "key=len"),
        ('"always", "first lacking": "first"', '"first", "first lacking": "always"'),
    ),
    *of(
        "refmodel/weights/random.py", f"{HERE}weights/test_random.py",
        ("leaf.row.fan_in**-0.5, leaf.shape", "leaf.row.fan_in**-1, leaf.shape"),
        ("jax.random.fold_in(key, zlib.crc32(path.encode()))", "jax.random.fold_in(key, 7)"),
        ('if name not in blocks[stack]["attn"]:', "if True:"),
    ),
    *of(
        "refmodel/digest.py", f"{HERE}test_digest.py",
        ('f"{path} {x.dtype} {x.shape}"', 'f"{path} {x.dtype}"'),
        ("slice(start, start + step)) for", "slice(start, start + step - 1)) for"),
    ),
]  # fmt: skip
