"""Faults in what a sweep measures and counts, what it takes a failure for, and which memory there is."""

from __future__ import annotations

from tests.mutants.mutant import of

HERE = "tests/eval/measure/"
SWEEP, WORK = f"{HERE}test_sweep.py", f"{HERE}test_device_work.py"
LINES, NAMED, LEFT_OUT = (
    f"{HERE}records/test_json_lines.py",
    f"{HERE}test_named_layout.py",
    f"{HERE}test_left_out_records.py",
)
MEMORY, ROOM = "tests/refmodel/test_device_memory.py", "tests/refmodel/test_room.py"

MUTANTS = [
    *of(
        "eval/measure/cells.py", f"{HERE}test_cells.py",
        ("ms / calls for ms", "ms for ms"),
        ("min(5, asked.max_samples))", "5)"),
        ("max(asked.min_samples, min(", "max(1, min("),
        ("        memory.reset()\n", ""),
        ("max(peak_bytes[name], memory.peak_bytes() or 0)", "memory.peak_bytes() or 0"),
    ),
    *of(
        "eval/measure/cells.py", (SWEEP, WORK),
        ("reference_td if layout.is_full else", "reference_td if True else"),
        ('counted.pop("attention")', 'counted.pop("head")'),
    ),
    *of(
        "eval/measure/sweep.py", (SWEEP, f"{HERE}test_resume.py"),
        ("if len(cell.layouts) > 1:\n        return", "if False:\n        return"),
        ('done = {record.cell for record in kept if record.status == "ok"}', "done = {record.cell for record in kept}"),
    ),
    *of(
        "eval/measure/in_turns.py", SWEEP,
        ('isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)', '"RESOURCE_EXHAUSTED" in str(error)'),
        ("attempt(partial(compiled, layout)) for", "compiled(layout) for"),
        ("timings = time_programs(programs, budget, on_run, on_failure)", "timings = time_programs(programs, budget, on_run)"),
        ("attempt(partial(found, layout, program, timings[layout.name]))", "found(layout, program, timings[layout.name])"),
    ),
    *of(
        "eval/measure/records/json_lines.py", LINES,
        ("    elif keep < size:\n        file.truncate(keep)\n", ""),
        ('    if keep < size and _is_whole(content[keep:]):\n        file.write(b"\\n")\n    elif', "    if"),
        ("allow_nan=False", "allow_nan=True"),
        ("enumerate(lines, 1) if line.strip()", "enumerate(lines) if line.strip()"),
        ("    if _is_whole(last):", "    if last:"),
    ),
    *of(
        "eval/measure/named_layout.py", NAMED,
        ("for spec in (FULL, *specs)", "for spec in specs"),
        ("if read != variant:", "if False:"),
    ),
    *of(
        "eval/measure/left_out_records.py", LEFT_OUT,
        ("full / peak, other / peak, weights_s", "other / peak, full / peak, weights_s"),
        ('"model": lambda one: one.model', '"model": lambda one: one.layout'),
        ("        if layer.attends:", "        if True:"),
        ("record.run.weight_bits or BITS_OF_OLD_RECORDS)", "BITS_OF_OLD_RECORDS)"),
    ),
    *of(
        "eval/measure/comparison_run.py", f"{HERE}test_comparison_run.py",
        ("    file.refuse_place(folder)\n", ""),
        ("        if isinstance(request.text, str) or (", "        if ("),
    ),
    *of(
        "eval/measure/records/file.py", f"{HERE}test_comparison_run.py",
        ("errno.EEXIST if there == folder else errno.ENOTDIR", "errno.ENOTDIR"),
        ("    elif not os.access(there, os.W_OK | os.X_OK):", "    elif False:"),
    ),
    *of(
        "refmodel/device_memory.py", MEMORY,
        ("int(limit) - int(used) + caches", "int(limit) - int(used) - caches"),
        ("yield max(0, int(limit)", "yield (int(limit)"),
        ('("total_active_file", "total_inactive_file")', '("active_file", "inactive_file")'),
        ("len(own.parts) - len(root.parts)]", "0]"),
        ('"memory" not in controllers.split(",")', '"memory" not in controllers'),
        ("min((*told, *_left", "max((*told, *_left"),
    ),
    *of(
        "refmodel/room.py", ROOM,
        ("asked = numbers_apart if apart else numbers", "asked = numbers"),
        ("or needed <= free_bytes:", "or needed < free_bytes:"),
        ("weights_bytes + needed_bytes(tokens) <= free_bytes:", "needed_bytes(tokens) <= free_bytes:"),
        ("bisect_right(range(1, tokens)", "bisect_right(range(tokens)"),
        ("held + batch * tokens * _BESIDE_BYTES", "held + tokens * _BESIDE_BYTES"),
        ("if tokens > _MOST_TOKENS:", "if False:"),
        ("if item_bytes > 2 and", "if item_bytes > 4 and"),
        ("(n_bytes <= free_bytes)", "(n_bytes >= free_bytes)"),
    ),
]  # fmt: skip
