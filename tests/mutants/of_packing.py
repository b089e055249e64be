"""Faults in how packed weights get into a tree, and how a model of them computes."""

from __future__ import annotations

from tests.mutants.mutant import of

LEAF = "tests/refmodel/checkpoint/test_packed_leaf.py"
MODEL = "tests/refmodel/test_packed_model.py"

MUTANTS = [
    *of(
        "refmodel/packed/by_layer.py", LEAF,
        ("combinations.index(one) for one in taken", "0 for one in taken"),
        ("sorted(set(taken))", "sorted(set(taken))[:1]"),
    ),
    *of(
        "refmodel/checkpoint/packed_leaf.py", LEAF,
        ("found.index(layer) if layer in found else 0", "0"),
        ("which |= dict.fromkeys(found, number)", "which |= dict.fromkeys(found, 0)"),
        ("(found.index(one.index[:1]), *one.index[1:])", "(0, *one.index[1:])"),
    ),
    *of(
        "refmodel/checkpoint/packing.py", LEAF,
        ("return known if len(known) == len(placed) else None", "return None"),
        ("codings or (None,) * len(tensors)", "(None,) * len(tensors)"),
    ),
    *of(
        "refmodel/checkpoint/gguf_file.py", LEAF,
        ("rows = one.pick(tensor.rows().reshape(*tensor.shape[:-1], -1))", "rows = tensor.rows()"),
    ),
    *of(
        "refmodel/packed/held.py", MODEL,
        ("8 * n_bytes / max(", "n_bytes / max("),
        ('"+".join(names)', '"+".join(names[1:])'),
    ),
    *of(
        "refmodel/packed_head.py", MODEL,
        ("jnp.minimum(i * block + jnp.arange(block), vocab - 1)", "i + jnp.arange(block)"),
        ("-(-vocab // block)", "vocab // block"),
        ("jnp.moveaxis(logits, 0, -2)", "logits"),
    ),
    *of(
        "refmodel/digest.py", MODEL,
        ("{path} {leaf.coding.name} {name}", "{path} {name}"),
        ("sorted(parts.items())", "sorted(parts.items())[1:]"),
    ),
    *of(
        "refmodel/weights/random.py", MODEL,
        ("return _packed(key, leaf.row.fan_in**-0.5, packed)", "return _packed(key, leaf.row.fan_in**-1, packed)"),
        ("jax.random.split(key, math.prod(lead))", "jax.numpy.stack([key] * math.prod(lead))"),
    ),
    *of(
        "refmodel/weights/relayed.py", MODEL,
        ("return leaf.at(jnp.int32(i)) if", "return leaf.at(jnp.int32(0)) if"),
        ("jax.random.key(seed), coding)\n", "jax.random.key(seed))\n"),
    ),
]  # fmt: skip
