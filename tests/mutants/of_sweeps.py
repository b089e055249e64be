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
    ),
    *of(
        "eval/measure/cells.py", (SWEEP, WORK),
        ("reference_td if layout.is_full else", "reference_td if True else"),
        ('counted.pop("attention")', 'counted.pop("head")'),
    ),
    *of(
        "eval/measure/sweep.py", (SWEEP, f"{HERE}test_resume.py"),
        ('isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)', '"RESOURCE_EXHAUSTED" in str(error)'),
        ("if len(cell.layouts) > 1:\n            return", "if False:\n            return"),
        ('if record.status == "ok" and place not in foreign}', "if place not in foreign}"),
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
        ("asked * item_bytes <= free_bytes:", "asked * item_bytes < free_bytes:"),
        ("if item_bytes > 2 else", "if item_bytes > 4 else"),
        ("(n_bytes <= free_bytes)", "(n_bytes >= free_bytes)"),
    ),
]  # fmt: skip
