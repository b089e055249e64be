"""Faults in packed weights: planes, codings, and the bytes of files that become them."""

from __future__ import annotations

from tests.mutants.mutant import of

PACKED = "tests/refmodel/packed/test_"
PLANES, SCALED, CODINGS, LEAF, RULE, KERNELS, BLOCKS, FOLDERS = (
    f"{PACKED}{name}.py"
    for name in ("planes", "scaled", "codings", "packed", "rule", "in_kernels", "gguf_blocks", "folder_parts")
)

FOUR_BITS = "tests/refmodel/checkpoint/test_four_bits.py"

MUTANTS = [
    *of(
        "refmodel/packed/planes.py", PLANES,
        ("half[..., 0, :] | half[..., 1, :] << 4", "half[..., 1, :] | half[..., 0, :] << 4"),
        ('bitorder="little"', 'bitorder="big"'),
        ("np.stack(each, axis=-3)", "np.stack(each[::-1], axis=-3)"),
        ("if depth % PAIR:", "if depth % LANES:"),
    ),
    *of(
        "refmodel/packed/coding.py", (CODINGS, BLOCKS, LEAF, FOLDERS),
        ("weight if minimum is None else weight - minimum[..., None]", "weight"),
        ("group // field.groups, axis=-1)", "group % field.groups, axis=-1)"),
        ("math.lcm(self.group or 1, 1 if self.bits == 8 else PAIR)", "self.group or 1"),
        ("return self.group or depth", "return self.group or self.block"),
        ("return -(-rows // self.rows), -(-groups // self.groups)", "return -(-rows // self.rows), groups // self.groups"),
        ("return -(-rows // self.rows), -(-groups // self.groups)", "return rows // self.rows, -(-groups // self.groups)"),
    ),
    *of(
        "refmodel/packed/codings.py", CODINGS,
        ("if name not in _WITH_GROUP:", "if name not in known:"),
        ("if not int(group) or int(group) % 16:", "if int(group) % 16:"),
        ("text.strip().lower()", "text.strip()"),
    ),
    *of(
        "refmodel/packed/scaled.py", SCALED,
        ("np.rint(_divided(grouped, scale))", "np.trunc(_divided(grouped, scale))"),
        ("np.abs(grouped).argmax(-1)", "grouped.argmax(-1)"),
        ("-self.least - (self.bits < 8)", "-self.least"),
        ("where=scale != 0", "where=scale == scale"),
        ("/ E4M3_MOST).astype(", "/ 240).astype("),
        ("clip(-E4M3_MOST, E4M3_MOST)", "clip(-240, 240)"),
    ),
    *of(
        "refmodel/packed/packed.py", LEAF,
        ("shape=self.shape[1:], slots", "shape=self.shape, slots"),
        ("taken.astype(self.dtype).reshape(*row.shape, depth)", "taken.astype(self.dtype).reshape(depth, *row.shape)"),
        ("shape=(1, *self.shape))", "shape=self.shape)"),
        ("decode(self.parts, rows, depth).astype(self.dtype)", "decode(self.parts, rows, depth)"),
    ),
    *of(
        "refmodel/packed/rule.py", RULE,
        ("stored_shape[-2] >= LEAST_ROWS", "stored_shape[-2] > LEAST_ROWS"),
        ("return row.stored_shape[-2] >= LEAST_ROWS", "return True"),
        ("axis not in row.sums)", "axis in row.sums)"),
        ("math.prod(copies) * coding.matrix_bytes", "coding.matrix_bytes"),
    ),
    *of(
        "refmodel/packed/k_quants.py", BLOCKS,
        ("(group & 3) * 8 + (group & 4)", "(group & 7) * 4"),
        ("low >> 4 | (high & 12) << 2", "low >> 4 | (high & 12) << 4"),
        ("(low & 15) | (high & 3) << 4", "(low & 15) | (high & 15) << 4"),
        ("(level - 32).astype(jnp.float32)", "(level - 31).astype(jnp.float32)"),
        ('{"scale": Field(jnp.int8), "d"', '{"scale": Field(jnp.uint8), "d"'),
    ),
    *of(
        "refmodel/packed/k_quants.py", CODINGS,
        ('d if name == "d" else d * (2**self.bits - 1) / 2', "d"),
        ("0xAAAAAAAA", "0x55555555"),
        ("else _DRAWN_SCALE_OF_8, dtype", "else _DRAWN_SCALE, dtype"),
    ),
    *of(
        "refmodel/packed/codebooks.py", BLOCKS,
        ("-127, -104, -83, -65", "-127, -104, -83, -64"),
        ("jnp.where(odd, second, first), jnp.where(odd, fourth, third)", "jnp.where(odd, second, first), jnp.where(odd, third, fourth)"),
        ("(24 - (level & 3) * 8) >> 24", "(24 - (level & 3) * 8) >> 23"),
        ("0xC8643210 - 2**32", "0xC8643220 - 2**32"),
        ("jnp.where(level < 8, magnitude, -magnitude)", "jnp.where(level <= 8, magnitude, magnitude)"),
        ("astype(jnp.int32) - 1, 0)", "astype(jnp.int32), 0)"),
        ("jnp.maximum(read", "abs(read"),
        ("(high & 3) << 4) - 32", "(high & 3) << 4) - 31"),
        ('read("scale_high").astype(jnp.int32) >> within * 2', 'read("scale_high").astype(jnp.int32) >> within * 4'),
    ),
    *of(
        "refmodel/packed/codebooks.py", CODINGS,
        ("(4 ** (half - below) - 1) / 3", "half - below - 1"),
        ("int(below) + 128", "int(below) + 127"),
    ),
    *of(
        "refmodel/packed/gguf_codings.py", (BLOCKS, CODINGS),
        ('-read("minimum")', 'read("minimum")'),
        ("-scale * (2**self.bits - 1) / 2", "scale * (2**self.bits - 1) / 2"),
        ('"q5_0", 5, -16', '"q5_0", 5, -15'),
    ),
    *of(
        "refmodel/packed/gguf_blocks.py", BLOCKS,
        ("first & _NIBBLES | (second & _NIBBLES) << _FOUR", "second & _NIBBLES | (first & _NIBBLES) << _FOUR"),
        ("32 if kind == Kind.Q6_K else 16", "16"),
        ("range(plane, 8, 2)", "range(1 - plane, 8, 2)"),
        ('np.uint8(1 << bit), bitorder="little"', 'np.uint8(1 << bit), bitorder="big"'),
        ("scale >> 6 & 0x03030303", "scale >> 4 & 0x03030303"),
        ("first | second << 4", "second | first << 4"),
        ("[scale & 0x0F0F0F0F | (minimum & 0x0F0F0F0F) << 4, last]", "[last, scale & 0x0F0F0F0F | (minimum & 0x0F0F0F0F) << 4]"),
        ("if row_bytes % block_bytes:", "if False:"),
        ("if isinstance(kind, GGMLQuantizationType) else None", "if kind in GGMLQuantizationType else GGUF_CODINGS['q4_0']"),
        ("yield slice(start, start + step)", "yield slice(start, start + step - 1)"),
    ),
    *of(
        "refmodel/packed/folder_codings.py", FOLDERS,
        ("(group & 1) * 4) & 15", "(group & 1) * 4)"),
        ("Field(jnp.float32, rows=BLOCK)", "Field(jnp.bfloat16, rows=BLOCK)"),
        ("scale * zero.astype(jnp.float32)", "zero.astype(jnp.float32)"),
    ),
    *of(
        "refmodel/packed/folder_codings.py", CODINGS,
        ("0x88 if name", "0x08 if name"),
    ),
    *of(
        "refmodel/packed/folder_parts.py", FOLDERS,
        ("_AWQ_ORDER: Final = (0, 2, 4, 6, 1, 3, 5, 7)", "_AWQ_ORDER: Final = (0, 4, 1, 5, 2, 6, 3, 7)"),
        ("zero + 1 & 15 if version == 1", "zero + 1 if version == 1"),
        ("zero + 1 & 15 if version == 1", "zero + 1 & 15 if version == 2"),
        ("np.arange(depth) // coding.group", "np.arange(len(g_idx)) // coding.group"),
        ("even | odd << 8", "odd | even << 8"),
        ("((0, len(zero) % 2), (0, 0))", "((len(zero) % 2, 0), (0, 0))"),
        ("np.int32 and scales.dtype == np.float16", "np.int32"),
        ("group % 16 == 0 and uint4", "uint4"),
        ("and uint4(group).holds(depth)", ""),
        ("scales.shape == (groups, rows)", "len(scales) == groups"),
        ("scale_inv.shape == blocks", "scale_inv.ndim == 2"),
        ("if not (fine and coding.holds(weight.shape[1])):", "if not fine:"),
    ),
    *of(
        "refmodel/checkpoint/formats.py", FOUR_BITS,
        ("return (8 * columns, rows) if", "return (rows, 8 * columns) if"),
        ("zeros == (groups, out // 8) and", ""),
        ("all(one == numbers[1:] for one in index)", "all(len(one) == 1 for one in index)"),
        ("or not scales[0] or numbers[1] % scales[0]", "or not scales[0]"),
        ("None if group % 16 else _if_held(uint4(group), numbers)", "_if_held(uint4(group), numbers)"),
        ("coding if coding.holds(numbers[-1]) else None", "coding"),
        ("(level.astype(np.float32) - zero[..., None])", "level.astype(np.float32)"),
        ("[:, : scale.shape[1]]", "[:, -scale.shape[1] :]"),
        ("partial(parts_of_gptq, version=2)", "partial(parts_of_gptq, version=1)"),
        ('WEIGHT_FORMATS.get(f"{dtype} {method}") or WEIGHT_FORMATS.get(dtype)', 'WEIGHT_FORMATS.get(dtype) or WEIGHT_FORMATS.get("I32 awq")'),
    ),
    *of(
        "refmodel/checkpoint/safetensors_folder.py", FOUR_BITS,
        ('return "gptq_v2" if newer else', "return"),
        ("if not isinstance(told, Mapping):", "if told is None:"),
    ),
    *of(
        "refmodel/checkpoint/formats.py", FOUR_BITS,
        ('stored_as=".qweight"', 'stored_as=".qweights"'),
    ),
    *of(
        "refmodel/checkpoint/stored_names.py", "tests/refmodel/checkpoint/test_formats.py",
        ('f"{stored.removesuffix(ending)}.weight" if', 'f"{stored.removesuffix(ending)}weight" if'),
    ),
    *of(
        "refmodel/packed/codebooks.py", KERNELS,
        ("lax.bitcast_convert_type(exponent << 23, jnp.float32)", "jnp.array([2.0 ** (i - 127) for i in range(255)])[exponent]"),
    ),
]  # fmt: skip
