"""The process that compiles: `python -m eval.lowering.child JOB`, in the environment that a `Toolchain` makes.

It has a process of its own because the loader reads `LD_LIBRARY_PATH`, and XLA its flags, once, at the start.  JOB is
a folder with `job.json`; `result.json` and `program.hlo.txt` join it.  A compile that fails is a result too.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    """Compiles the job's program and writes what came out."""
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.CRITICAL)  # "no device", which is the point
    warnings.simplefilter("ignore", DeprecationWarning)  # Pallas-Triton, the only Pallas that ROCm has
    job = json.loads((folder / "job.json").read_text())
    (folder / "result.json").write_text(json.dumps(compile_job(job, folder)))


def compile_job(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`lower_s`, `compile_s`, `compile_cpu_s` (of all cores) and `memory`; where it refused, `error`: what it said."""
    import jax
    from jax.experimental import topologies

    from attention.kernels.target import compiling_for
    from eval.lowering.programs import from_json
    from eval.lowering.target import target
    from eval.lowering.vendors import vendor_of

    absent = target(job["target"])
    vendor = vendor_of(absent)
    device = absent_device(topologies, vendor.platform, job["plugin"], vendor.config_text(absent))
    vendor.prepare(absent)
    sharding = jax.sharding.SingleDeviceSharding(device)
    start = time.perf_counter()
    try:
        with compiling_for(absent.name):
            lowered = lower(from_json(job["program"]), sharding, vendor.platform)
    except (ValueError, NotImplementedError) as error:  # a kernel's own checks, or what Pallas cannot lower
        said = f"{type(error).__name__}: {error}"[:4000]
        return {"lower_s": time.perf_counter() - start, "compile_s": 0.0, "error": said}
    lowered_at, cpu = time.perf_counter(), time.process_time()
    result: dict[str, Any] = {"lower_s": lowered_at - start}
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        return result | {"compile_s": time.perf_counter() - lowered_at, "error": str(error)[:4000]}
    result |= {"compile_s": time.perf_counter() - lowered_at, "compile_cpu_s": time.process_time() - cpu}
    plan = compiled.memory_analysis()
    result["memory"] = {
        "argument_bytes": plan.argument_size_in_bytes, "temp_bytes": plan.temp_size_in_bytes,
        "output_bytes": plan.output_size_in_bytes, "alias_bytes": plan.alias_size_in_bytes,
    }  # fmt: skip
    (folder / "program.hlo.txt").write_text(compiled.as_text())
    vendor.collect(folder)
    return result


def lower(program: Any, sharding: Any, platform: str) -> Any:
    """The program in StableHLO, its arguments on the absent device."""
    import jax

    function, arguments = program.build()

    def lowered_program(*arguments: Any) -> Any:
        return function(*arguments)

    arguments = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arguments)
    return jax.jit(lowered_program).trace(*arguments).lower(lowering_platforms=(platform,))


def absent_device(topologies: Any, platform: str, plugin: str, config: str) -> Any:
    """A device of the target that is not there, to compile for."""
    from jax._src import xla_bridge  # the public way to register a plugin is an entry point, which looks for a device

    options = {"platform_name": platform.upper()}
    xla_bridge.register_plugin(platform, priority=500, library_path=plugin, options=options)
    return topologies.get_topology_desc(platform=platform, target_config=config, topology="1x1x1").devices[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
