#!/usr/bin/env bash
# jax 0.10.2 with jaxlib 0.10.2, on a CPU: the persistent compilation cache, of which one entry is half a file, as a
# process leaves it that is killed while it writes one (entries are written in place, not renamed), or a full disk.
#
# One would expect that the program is compiled once more and that the entry is replaced.  Seen: it is compiled, with a
# warning, and the half stays, because nothing is written over a file that exists.  So every later process compiles the
# same program again, with the same warning (an error under `-W error`), until somebody deletes the file.
#
# Output seen:
#   jax 0.10.2, jaxlib 0.10.2
#   nothing stored: 0 hits, 1 miss, 0 warnings
#   a whole entry: 1 hit, 0 misses, 0 warnings
#   half an entry: 0 hits, 1 miss, 1 warning
#   after that: 0 hits, 1 miss, 1 warning
#   the entry is still the half
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 2>/dev/null
cat > "$folder/compile.py" <<'PYTHON'
import os
import warnings
from collections import Counter

import jax

counts = Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event.rpartition("/")[2]]))
argument = jax.ShapeDtypeStruct((7, 11), jax.numpy.float32)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    jax.jit(lambda x: jax.numpy.tanh(x) @ x.T).lower(argument).compile()
unread = sum("persistent compilation cache" in str(one.message) for one in said)
print(counts["cache_hits"], counts["cache_misses"], unread)
PYTHON
export JAX_PLATFORMS=cpu JAX_COMPILATION_CACHE_DIR="$folder/cache" JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
  JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
compile() {
  "$folder/venv/bin/python" "$folder/compile.py" 2>"$folder/said" || { tail -n 3 "$folder/said" >&2; exit 1; }
}
"$folder/venv/bin/python" -c "
import jax, jaxlib
print(f'jax {jax.__version__}, jaxlib {jaxlib.__version__}')"
tell() {
  echo "$1: $2 hit$([ "$2" = 1 ] || echo s), $3 miss$([ "$3" = 1 ] || echo es), $4 warning$([ "$4" = 1 ] || echo s)"
  seen="$seen$2$3$4 "
}
seen=""
tell "nothing stored" $(compile)
tell "a whole entry" $(compile)
entry="$(ls "$folder"/cache/*-cache)"
half=$(($(stat -c %s "$entry") / 2))
truncate -s "$half" "$entry"
tell "half an entry" $(compile)
tell "after that" $(compile)
[ "$(stat -c %s "$entry")" = "$half" ]
echo "the entry is still the half"
[ "$seen" = "010 100 011 011 " ]
