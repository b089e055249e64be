#!/usr/bin/env bash
# ml_dtypes 0.7.0 beside 0.6.0, with numpy 2.4.6: what `import ml_dtypes` takes, numpy being there already.  jax imports it
# first of all, on any device, and asks for 0.5 or later: whoever makes an environment gets the newer one.
#
# One would expect a release that adds a type or two to import as fast.  Seen: 4 ms became 0.4 s, all of it in the
# extension module's initialisation, in every process and with nothing compiled or read from disk; `import jax` 0.10.2
# took 0.96 s with it and 0.54 s without, on the same machine in the same minute.  So a change of start-up by a factor of
# two is in neither jax nor the program, and a lower bound on jax alone does not keep it out.
#
# Output seen:
#   ml_dtypes 0.6.0: 4 ms
#   ml_dtypes 0.7.0: 390 ms
#   97 times
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/fastest.py" <<'PYTHON'
import subprocess
import sys

ONCE = """
import time
import numpy
start = time.perf_counter()
import ml_dtypes
print(ml_dtypes.__version__, 1e3 * (time.perf_counter() - start))
"""
fastest = {}
for folder in sys.argv[1:]:
    for _ in range(5):  # the first one compiles its Python files
        done = subprocess.run([f"{folder}/bin/python", "-c", ONCE], capture_output=True, text=True, check=True)
        version, ms = done.stdout.split()
        fastest[version] = min(float(ms), fastest.get(version, 1e9))
for version, ms in fastest.items():
    print(f"ml_dtypes {version}: {ms:.0f} ms")
times = fastest["0.7.0"] / fastest["0.6.0"]
print(f"{times:.0f} times")
sys.exit(times < 10)
PYTHON
for version in 0.6.0 0.7.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check ml_dtypes=="$version" numpy==2.4.6 2>/dev/null
done
python3 "$folder/fastest.py" "$folder/0.6.0" "$folder/0.7.0"
