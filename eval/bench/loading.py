"""Loading a folder of bfloat16 safetensors, beside reading its bytes once, all from a warm page cache.

    python -m eval.bench.loading --gb 4 --rounds 9

Each reader runs in a process of its own, in turns; the time starts after the imports.  `bytes` is the fastest that we
know: `np.fromfile` of every tensor into an array that asked for huge pages, as it lies in the file, on one thread;
`safetensors` is `load_file` of that library, which most loaders start with; `load` is what `refmodel.load` does to a
folder: transposed, stacked over the layers, on the device.

A process reads twice.  The first time its arrays are `fresh` memory, which the system clears page by page as it is
touched, and for which a virtual machine may first have to ask its host: that alone can take ten times as long as the
reading.  So each process follows one of its own reader that is not counted, and gets the memory that this one gave
back.  The second time they are memory that the process `held`, which glibc was told not to give back: only reading and
moving is left.  Memory is the most that was resident in the first, beyond what was before, over the bytes of the file.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save_file

from eval.measure.peak_memory import PeakMemory
from eval.measure.records.environment import environment, now
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


def library(folder: Path) -> list[dict[str, np.ndarray]]:
    """As the format's own library reads them."""
    return [load_file(path) for path in sorted(folder.glob("*.safetensors"))]


def load(folder: Path) -> Any:
    return jax.block_until_ready(open_checkpoint(folder).params(jnp.bfloat16))


READERS: Final = {"bytes": read_bytes, "safetensors": library, "load": load}
MEMORIES: Final = ("fresh", "held")
HOLDING: Final = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**46)}
"""Of glibc: what is freed stays with the process."""


def once(reader: str, folder: Path) -> None:
    """In a process of its own: one reading into each kind of memory, as a line of JSON."""
    jax.block_until_ready(jnp.zeros(1))  # the device is there
    import_module("refmodel.checkpoint.safetensors_folder")  # which is imported when a folder is opened
    peak = PeakMemory()
    before = peak.peak_bytes() or 0
    found: dict[str, Any] = {}
    for memory in MEMORIES:
        found[memory] = timed(READERS[reader], folder)
        found.setdefault("peak_bytes", (peak.peak_bytes() or 0) - before)
    print(json.dumps(found))


def timed(read: Callable[[Path], Any], folder: Path) -> dict[str, float]:
    """Wall time, and the processor's, on all threads, in the process and in the system for it."""
    gc.collect()
    start, before = time.perf_counter(), os.times()
    kept = read(folder)
    ms, after = 1e3 * (time.perf_counter() - start), os.times()
    del kept
    return {"ms": ms, "user_ms": 1e3 * (after.user - before.user), "system_ms": 1e3 * (after.system - before.system)}


def rounds_of(folder: Path, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """What `once` found, of each reader."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in READERS}
    for _ in range(rounds):
        for name, runs in found.items():
            command = [sys.executable, "-m", "eval.bench.loading", "--once", name, str(folder)]
            for _ in ("its memory comes from the host", "counted"):
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | HOLDING)
            runs.append(json.loads(done.stdout))
    return found


def compared(found: dict[str, list[dict[str, Any]]], memory: str) -> str:
    """A line: how long the readers took, and loading over each reading by the medians and by the fastest."""
    ms = {name: sorted(run[memory]["ms"] for run in runs) for name, runs in found.items()}
    middle, fastest = ({name: its(runs) for name, runs in ms.items()} for its in (statistics.median, min))

    def times(name: str) -> str:
        cores_ms = statistics.median(run[memory]["user_ms"] + run[memory]["system_ms"] for run in found[name])
        span = f"{fastest[name]:.0f} to {ms[name][-1]:.0f}"
        return f"{name} {middle[name]:.0f} ms ({span}; {cores_ms:.0f} of the processor)"

    def over(other: str) -> str:
        by_medians, by_fastest = (one["load"] / one[other] for one in (middle, fastest))
        return f"{by_medians:.2f}x {other} by the medians, {by_fastest:.2f}x by the fastest"

    others = (name for name in found if name != "load")
    return f"{memory} memory: {', '.join(map(times, found))}; load is {', '.join(map(over, others))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=4.0, help="of the folder (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="readings of each (default: %(default)s)")
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        return once(given.once[0], Path(given.once[1]))
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        size_bytes = write_folder(folder, 1e9 * given.gb)
        read_bytes(folder)  # into the page cache
        found = rounds_of(folder, given.rounds)
    busy = os.getloadavg()[1]
    record = {"kind": "loading", "size_bytes": size_bytes, **found, "load_average": busy, "time": now()}
    print(json.dumps(record | asdict(environment())))
    peak = max(run["peak_bytes"] for run in found["load"]) / size_bytes
    print(f"{size_bytes / 1e9:.2f} GB, resident {peak:.3f}x the file; {busy:.1f} processes ran or waited")
    for memory in MEMORIES:
        print(compared(found, memory))


if __name__ == "__main__":
    main()
