"""Faults in what a token goes through: positions, experts, cache, decoding, and how files are read."""

from __future__ import annotations

from tests.mutants.mutant import of

HERE = "tests/refmodel/"
LAYERS, POSITIONS, SOURCE = f"{HERE}test_layers.py", f"{HERE}test_positions.py", f"{HERE}test_source.py"
FREQUENCIES = f"{POSITIONS}::test_frequencies_of_transformers"
BY_LENGTH = f"{POSITIONS}::test_the_length_decides_at_the_original_context"
IDS, FOLDER = f"{SOURCE}::test_ids_outside_the_vocabulary_are_refused", f"{HERE}tokenizer/test_folder.py"
SAMPLING = (f"{HERE}test_sampling.py", f"{HERE}test_generate.py")
PACKED = f"{HERE}kernels/test_packed_products.py"
ROWS = f"{HERE}kernels/test_packed_rows.py"
GGUF, EXPERTS = f"{HERE}checkpoint/test_gguf_parts.py", f"{HERE}kernels/test_grouped.py"
STOPS = f"{HERE}test_model.py::test_sampling_repeats_with_its_seed_and_stops"

MUTANTS = [
    *of(
        "refmodel/rope.py", LAYERS,
        ("[first * cos - second * sin", "[first * cos + second * sin"),
        ("second * cos + first * sin, rest]", "second * cos - first * sin, rest]"),
    ),
    *of(
        "refmodel/rope.py", f"{POSITIONS}::test_the_attention_factor_is_in_both_rotations",
        ("(factor * cos, factor * sin)", "(factor * cos, sin)"),
    ),
    *of(
        "refmodel/rope_scaling.py", BY_LENGTH,
        ("self.long if total_tokens > self.original_positions", "self.long if total_tokens >= self.original_positions"),
        ("self.factor * longer - (self.factor - 1))", "self.factor * longer)"),
        ("longer = max(total_tokens, self.max_positions) /", "longer = total_tokens /"),
    ),
    *of(
        "refmodel/rope_scaling.py", FREQUENCIES,
        ("(kept_h + (1 - kept_h) / self.factor)", "(kept_h / self.factor + (1 - kept_h))"),
        ("self.stretch ** (head_dim / (head_dim - 2))", "self.stretch ** ((head_dim - 2) / head_dim)"),
        ("math.floor(first), math.ceil(last)", "math.ceil(first), math.floor(last)"),
        ("(1 - scaled_h + scaled_h / self.factor)", "(scaled_h + (1 - scaled_h) / self.factor)"),
        ("return 0.1 * mscale * math.log(factor) + 1 if", "return 0.1 * mscale * math.log(factor) if"),
        ("math.sqrt(1 + math.log(factor) / math.log(original_positions))",
         "math.sqrt(1 + math.log(original_positions) / math.log(factor))"),
    ),
    *of(
        "refmodel/cache.py", f"{HERE}test_cache.py",
        ("jnp.int32(0))", "jnp.int32(1))"),
        ("capacity_tokens, dtype, ragged=ragged)", "capacity_tokens, dtype)"),
        ("jnp.broadcast_to(x, (layers, *x.shape))", "jnp.broadcast_to(x, (1, *x.shape))"),
    ),
    *of(
        "refmodel/token_ids.py", IDS,
        ("(found < 0) | (found >= vocab_size)", "(found < 0) | (found > vocab_size)"),
        ("(found < 0) | (found >= vocab_size)", "found >= vocab_size"),
    ),
    *of(
        "refmodel/token_ids.py", FOLDER,
        ("if number >= vocab_size), None)", "if number > vocab_size), None)"),
        ("return whole.removeprefix(prompt) if whole.startswith(prompt) else tokenizer.decode(list(new_ids))",
         "return tokenizer.decode(list(new_ids))"),
    ),
    *of(
        "refmodel/kernels/choose_experts.py", LAYERS,
        ("if renormalise else weight_rk", "if not renormalise else weight_rk"),
    ),
    *of(
        "refmodel/feed_forward.py", LAYERS,
        ("experts.experts_per_token, experts.norm_topk_prob)", "experts.experts_per_token, True)"),
        ("choose_experts(logits_re,", "choose_experts(-logits_re,"),
    ),
    *of(
        "refmodel/kernels/projection_pallas.py", f"{HERE}kernels/test_projection.py",
        ("block < end))(partial(multiply, (block - first) * columns))",
         "block < end))(partial(multiply, block * columns))"),
    ),
    *of(
        "refmodel/norm.py", LAYERS,
        ("x32 = x.astype(jnp.float32)", "x32 = x"),
    ),
    *of(
        "refmodel/kernels/grouped.py", EXPERTS,
        ('einsum("rk,rkd->rd", weight_rk, ', 'einsum("rk,rkd->rd", 0 * weight_rk + 1, '),
        ("place = layer, expert\n", "place = layer * 0, expert\n"),
        ("number < tiles.n_used", "number < tiles.n_used - 1"),
    ),
    *of(
        "refmodel/kernels/grouped_backward.py", f"{HERE}kernels/test_grouped_backward.py",
        ("len(x_rd), row_t // choices)", "len(x_rd), row_t % len(x_rd))"),
        ("before + one.astype", "one.astype"),
        ("lax.fori_loop(0, tiles.n_used,", "lax.fori_loop(1, tiles.n_used,"),
        (".at[layer].set(d", ".at[0].set(d"),
    ),
    *of(
        "refmodel/tokenizer/edges.py", f"{HERE}tokenizer/test_gguf.py",
        ('for name in ("first", "$A", "last") if', 'for name in ("last", "$A", "first") if'),
    ),
    *of(
        "refmodel/tokenizer/edges.py", FOLDER,
        ("    tokenizer.no_truncation()\n", ""),
        ("    tokenizer.no_padding()\n", ""),
    ),
    *of(
        "refmodel/generate.py", STOPS,
        ("jnp.where(_is_one_of(token_b, stops), token_b, next_b)", "jnp.where(_is_one_of(token_b, stops), next_b, token_b)"),
    ),
    *of(
        "refmodel/generate.py", f"{HERE}test_generate.py",
        ("keys[jnp.minimum(start + jnp.arange(TOKENS_A_CALL), new_tokens - 1)]",
         "keys[jnp.minimum(jnp.arange(TOKENS_A_CALL), new_tokens - 1)]"),
    ),
    *of(
        "refmodel/sampling.py", SAMPLING,
        ("keepdims=True)) / how.temperature", "keepdims=True)) / 1"),
        ("(logits_bv - logits_bv.max(-1, keepdims=True))", "logits_bv"),
        (" | (rank_v == 0)", ""),
        ("kept_bv &= (before_bv < top_p)", "kept_bv &= (before_bv <= top_p + 0.05)"),
        ("jnp.where(kept_bv, sorted_bv, -jnp.inf)", "sorted_bv"),
        ("jnp.argsort(-logits_bv, axis=-1, stable=True)", "jnp.argsort(logits_bv, axis=-1, stable=True)"),
        ("jnp.argsort(order_bv, axis=-1), axis=-1)", "order_bv, axis=-1)"),
    ),
    *of(
        "refmodel/continuation.py", f"{HERE}test_continuation.py",
        ("tokens_a_call=1)", "tokens_a_call=2)"),
        ("self.end_tokens if stop is None else", "self.end_tokens if not stop else"),
        ("edges=not chat", "edges=chat"),
        ("rows_of_ids(ids, self.config.vocab_size)", "rows_of_ids(jnp.asarray(ids), self.config.vocab_size)"),
        ("isinstance(stop, str | bytes | bytearray)", "isinstance(stop, str)"),
        ('getattr(stop, "ndim", 1) == 0', "False"),
    ),
    *of(
        "refmodel/tokenizer/running_text.py", f"{HERE}tokenizer/test_running_text.py",
        (".rstrip(_CUT)\n", "\n"),
        ("if settled == text and len(ids) >= _TAIL_TOKENS:", "if len(ids) >= _TAIL_TOKENS:"),
        ("if settled == text and len(ids) >= _TAIL_TOKENS:", "if False:"),
        ("_tail(tokenizer, [*tail, *ids]), [], \"\"", "[], [], \"\""),
        ("    if rest:\n        yield rest\n", ""),
        ("        count *= 2\n", "        break\n"),
    ),
    *of(
        "refmodel/tokenizer/chat.py", f"{HERE}tokenizer/test_chat.py",
        ("{'endif' if tag[2] else 'if true'}", "{'if true' if tag[2] else 'endif'}"),
        ("0 <= number < len(texts)", "0 <= number <= len(texts)"),
        ('"ensure_ascii": False', '"ensure_ascii": True'),
        ("if size > _MOST:", "if size >= _MOST:"),
        ("left.bit_length() + right.bit_length()", "left.bit_length()"),
        ("((left, right), (right, left))", "((left, right),)"),
        ("base.bit_length() * exponent", "exponent"),
        ('frozenset({"*", "**"})', 'frozenset({"*"})'),
        ("except Exception as error:", "except ValueError as error:"),
    ),
    *of(
        "refmodel/checkpoint/gguf_header.py", GGUF,
        ("start = -(-header_bytes // alignment) * alignment", "start = header_bytes // alignment * alignment"),
        ("if self.items > _MOST_ITEMS:", "if items > _MOST_ITEMS:"),
        ("if after is not None and file_bytes > start + after:", "if file_bytes < start:"),
        ("tuple(reversed([cursor.number(\"<u8\") for _ in range(n_axes)]))", "tuple([cursor.number(\"<u8\") for _ in range(n_axes)])"),
    ),
    *of(
        "refmodel/kernels/one_matrix.py", f"{PACKED}::test_xla_multiplies_by_one_matrix_of_a_stack",
        ("(*place, *(0 for _ in sizes))", "(*(0 * i for i in place), *(0 for _ in sizes))"),
        ("shape=stack.shape[len(place) :]", "shape=stack.shape[len(place) - 1 :]"),
    ),
    *of(
        "refmodel/kernels/one_matrix.py", f"{PACKED}::test_weights_are_rounded_to_the_dtype_of_the_rows",
        ("dtype=x.dtype, slots", "dtype='float32', slots"),
    ),
    *of(
        "refmodel/kernels/projection.py", f"{PACKED}::test_xla_multiplies_by_one_matrix_of_a_stack",
        ("return stack.outer or stack.shape[1:2]", "return stack.shape[1:2]"),
    ),
    *of(
        "refmodel/kernels/packed_tiles.py", (f"{PACKED}::test_an_interpreted_kernel_decodes_every_coding", f"{PACKED}::test_an_interpreted_kernel_decodes_groups_longer_than_a_step"),
        ("row_r // field.rows", "row_r"),
        ("group // field.groups", "group"),
        ("weight if minimum is None else weight - minimum", "weight"),
        ("second = jnp.arange(LANES)[None] >= width", "second = jnp.arange(LANES)[None] < width"),
        ("one.astype(jnp.int32) << (4 + bit)", "one.astype(jnp.int32) << 4"),
        ("low.astype(jnp.int32) >> 4]", "low.astype(jnp.int32) & 15]"),
        ("lax.div(i, group // step)", "i"),
        ("[scales_of(lax.div(i * step + at, group)) for at in starts]", "[scales_of(lax.div(i * step, group)) for at in starts]"),
    ),
    *of(
        "refmodel/kernels/packed_tiles.py", f"{PACKED}::test_a_step_is_a_power_of_two_that_divides_and_whole_pairs_of_nibbles",
        ("PAIR if nibbles else 1", "1"), ("min(most, depth & -depth)", "most"),
    ),
    *of(
        "refmodel/kernels/packed_rows.py", f"{ROWS}::test_projections_are_those_of_the_numbers",
        ("jnp.minimum(run_p, n_runs - 1)", "run_p * 0"),
        ("(run_p * len(x_pl) + half) * LANES", "run_p * len(x_pl) * LANES"),
        ("exists_p = run_p < n_runs", "exists_p = run_p < size"),
        ("row_r // field.rows", "row_r"),
        ("part if minimum is None else part - minimum * x_sum", "part"),
    ),
    *of(
        "refmodel/kernels/packed_rows.py", f"{ROWS}::test_what_the_kernel_takes",
        ("% LANES == 0", "% 16 == 0"),
        ("if (steps == steps[0]).all() else None", ""),
    ),
    *of(
        "refmodel/kernels/packed_rows.py", f"{ROWS}::test_experts_of_each_slot_are_those_of_the_numbers",
        ("lax.div(s, choices)", "s"),
        ("out = out * scale_ref[0][s].astype(jnp.float32)", "pass"),
    ),
    *of(
        "refmodel/kernels/grouped_matmul.py", f"{HERE}test_grouped_pallas.py",
        ("jnp.minimum(pl.program_id(0) * static.columns, width - static.columns)", "pl.program_id(0) * static.columns"),
        ("blocks = pl.cdiv(width, static.columns)", "blocks = width // static.columns"),
        ("depth * blocks * static.columns * len(weights)", "depth * width * len(weights)"),
    ),
    *of(
        "refmodel/gating.py", EXPERTS,
        ("jnp.clip(up, -limit, limit)\n", "jnp.minimum(up, limit)\n"),
        ("jax.nn.sigmoid(slope * gate) * (up + 1)", "jax.nn.sigmoid(slope * gate) * up"),
    ),
    *of(
        "refmodel/gating.py", f"{HERE}test_grouped_pallas.py::test_biases_and_every_activation_are_fused",
        ("(8 / math.pi) ** 0.5 * gate", "(2 / math.pi) ** 0.5 * gate"),
        ("jnp.minimum(jnp.maximum(up, -limit), limit) + 1", "jnp.minimum(up, limit) + 1"),
    ),
    *of(
        "refmodel/checkpoint/fused_experts.py", f"{HERE}checkpoint/test_safetensors_folder.py::test_round_trip",
        ('if leaf == "gate" else', 'if leaf == "up" else'),
    ),
    *of(
        "refmodel/checkpoint/fused_experts.py", f"{HERE}checkpoint/test_gpt_oss_files.py",
        ('int(leaf.startswith("up"))', 'int(leaf.startswith("gate"))'),
    ),
    *of(
        "refmodel/checkpoint/formats.py", f"{HERE}checkpoint/test_gpt_oss_files.py",
        ("[np.arange(256) & 15, np.arange(256) >> 4]", "[np.arange(256) >> 4, np.arange(256) & 15]"),
        ("np.arange(256) - 128)", "np.arange(256) - 127)"),
    ),
    *of(
        "refmodel/families/gpt_oss.py", f"{HERE}families/test_gpt_oss.py",
        ("[FULL if layer % 2 else SLIDING", "[SLIDING if layer % 2 else FULL"),
        ("dataclasses.replace(rope.scaling, truncate=False)", "rope.scaling"),
    ),
    *of(
        "refmodel/checkpoint/delta_tensors.py", f"{HERE}checkpoint/test_delta_tensors.py",
        ("(m // n, n, -1)", "(n, m // n, -1)"),
        ("keys = 2 * n * delta.key_dim", "keys = n * delta.key_dim"),
        ('"attn.b": (0, group), "attn.a": (group, 2 * group)', '"attn.a": (0, group), "attn.b": (group, 2 * group)'),
        ("-np.exp(stored", "np.exp(stored"),
    ),
    *of(
        "refmodel/checkpoint/fill.py", f"{HERE}checkpoint/test_fill.py",
        ("        task.result()\n", "        task\n"),
        ("            _finish(going.popleft()[1])\n", "            going.popleft()\n"),
        ("    for _, tasks in going:\n        _finish(tasks)\n", ""),
    ),
    *of(
        "refmodel/checkpoint/put.py", f"{HERE}checkpoint/test_put.py",
        ("range(0, size, step)", "range(0, size - step + 1, step)"),
        ("tile.view(number).T", "tile.T"),
        ("tile[...] = block_oi[rows]", "tile[...] = block_oi[: len(tile)]"),
        ("_cuts(len(block_oi), _TILE_ROWS)", "_cuts(_TILE_ROWS, _TILE_ROWS)"),
        ("_cuts(len(own), _COPIED_ROWS)", "_cuts(_COPIED_ROWS, _COPIED_ROWS)"),
        ("_cuts(fan_in, _TILE_ROW_BYTES // part.itemsize)", "_cuts(out, _TILE_ROW_BYTES // part.itemsize)"),
    ),
    *of(
        "refmodel/train.py", f"{HERE}test_train.py",
        ("logits_btv[:, :-1], jnp", "logits_btv[:, 1:], jnp"),
        (".sum() / counts_bt.sum()", ".mean()"),
        ('"stays": optax.set_to_zero()', '"stays": optimizer'),
        ("    params = jax.tree.map(jnp.copy, params)\n", ""),
        ("len(text_s) - tokens + 1", "len(ids_s) - tokens"),
    ),
    *of(
        "refmodel/decoder.py", f"{HERE}test_read_config.py",
        ("(layer + 1) % decoder_sparse_step", "layer % decoder_sparse_step"),
        ("layer not in mlp_only_layers", "layer + 1 not in mlp_only_layers"),
    ),
]  # fmt: skip
