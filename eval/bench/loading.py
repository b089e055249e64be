"""Loading a folder of bfloat16 safetensors, beside reading its bytes once; both from a warm page cache.

    python -m eval.bench.loading --gb 4 --rounds 5

Each reading is a process of its own, in turns; the time starts after the imports.  `bytes` reads every tensor into an
array as it lies in the file, on one thread; `load` is what `refmodel.load` does to a folder: transposed, stacked over
the layers, on the device.  Memory is the most that was resident beyond what was before, over the bytes of the file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from eval.measure.records.environment import environment, now
from eval.measure.timing import PeakMemory
from refmodel.checkpoint import open_checkpoint
from refmodel.checkpoint.placement import placements
from refmodel.read_hf_config import from_hf

SHAPE: Final = {  # of Llama-3.2-3B, whose layers are repeated as often as the size asks
    "model_type": "llama", "hidden_size": 3072, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 128_256, "intermediate_size": 8192, "rms_norm_eps": 1e-5, "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}  # fmt: skip
SHARDS: Final = 3


def write_folder(folder: Path, size_bytes: float) -> int:
    """A folder of about so many bytes in some shards; the bytes of its tensors."""

    def tensors(n_layers: int) -> dict[str, tuple[int, ...]]:
        (folder / "config.json").write_text(json.dumps(SHAPE | {"num_hidden_layers": n_layers}))
        found = placements(from_hf(folder / "config.json"), lambda row: row.hf, 10**9, str(folder))
        return {one.name: one.shape for one in found}

    one, two = (2 * sum(map(np.prod, tensors(n).values())) for n in (1, 2))
    shapes = tensors(max(1, round((size_bytes - one) / (two - one)) + 1))
    names, rng = list(shapes), np.random.default_rng(0)
    index = {
        name: f"model-{i * SHARDS // len(names) + 1:05}-of-{SHARDS:05}.safetensors" for i, name in enumerate(names)
    }
    for file in dict.fromkeys(index.values()):
        # below 2**14 the bits are those of small numbers
        drawn = {name: rng.integers(2**14, size=shapes[name], dtype=np.uint16) for name in names if index[name] == file}
        save_file({name: array.view(jnp.bfloat16) for name, array in drawn.items()}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return int(2 * sum(map(np.prod, shapes.values())))


def read_bytes(folder: Path) -> list[np.ndarray]:
    """Every tensor's bytes, in an array of its own."""
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            for start, end in (one["data_offsets"] for name, one in header.items() if name != "__metadata__"):
                found.append(np.fromfile(file, np.uint8, end - start))
    return found


def load(folder: Path) -> Any:
    return jax.block_until_ready(open_checkpoint(folder).params(jnp.bfloat16))


READERS: Final = {"bytes": read_bytes, "load": load}


def once(reader: str, folder: Path) -> None:
    """In a process of its own: one reading, as a line of JSON."""
    jax.block_until_ready(jnp.zeros(1))  # the device is there
    import_module("refmodel.checkpoint.safetensors_folder")  # which is imported when a folder is opened
    peak = PeakMemory()
    before = peak.peak_bytes() or 0
    start = time.perf_counter()
    READERS[reader](folder)
    ms = 1e3 * (time.perf_counter() - start)
    print(json.dumps({"ms": ms, "peak_bytes": (peak.peak_bytes() or 0) - before}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=4.0, help="of the folder (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="readings of each (default: %(default)s)")
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        return once(given.once[0], Path(given.once[1]))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        size_bytes = write_folder(folder, 1e9 * given.gb)
        read_bytes(folder)  # into the page cache
        for _ in range(given.rounds):
            for name, runs in found.items():
                command = [sys.executable, "-m", "eval.bench.loading", "--once", name, str(folder)]
                runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    ms = {name: statistics.median(run["ms"] for run in runs) for name, runs in found.items()}
    ratio = ms["load"] / ms["bytes"]
    record = {
        "kind": "loading",
        "size_bytes": size_bytes,
        **found,
        "ratio": ratio,
        "time": now(),
        **asdict(environment()),
    }
    print(json.dumps(record))
    peak = max(run["peak_bytes"] for run in found["load"]) / size_bytes
    times = ", ".join(f"{name} {one:.0f} ms" for name, one in ms.items())
    print(f"{size_bytes / 1e9:.2f} GB: {times}, {ratio:.2f}x; resident {peak:.3f}x the file")


if __name__ == "__main__":
    main()
