#!/usr/bin/env bash
# transformers 5.24.0: a configuration of Gemma 4's text model, whose layers of full attention have heads of another
# size and number (`global_head_dim`, and with `attention_k_eq_v` `num_global_key_value_heads`: the published names), is
# saved.
#
# One would expect to read what was given, under the names under which it was given.  Seen: neither name is in the file,
# nor an attribute of what is read back.  A `per_layer_config`, by the layer's number as text, has the heads of the layers
# that differ, and `head_dim` and `num_key_value_heads` are those of the windows alone.  So a reader of the published names
# finds heads of one size in a fine-tune that transformers saved, and every global layer's tensors of other shapes.
# Besides, the last layer becomes one of full attention, whatever `layer_types` said, with a warning.
#
# Output seen:
#   transformers 5.24.0
#   saved names of global heads: none
#   per_layer_config: {"1": {"head_dim": 32, "num_key_value_heads": 1}, "3": {"head_dim": 32, "num_key_value_heads": 1}}
#   layer_types: sliding, full, sliding, full
#   read back: global_head_dim None
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.24.0 2>/dev/null
cat > "$folder/save.py" <<'PYTHON'
import json
import sys
from pathlib import Path

import transformers
from transformers import AutoConfig
from transformers.models.gemma4 import Gemma4TextConfig

transformers.utils.logging.set_verbosity_error()
print(f"transformers {transformers.__version__}")
NAMES = "global_head_dim", "num_global_key_value_heads"
sliding, full = "sliding_attention", "full_attention"
config = Gemma4TextConfig(
    num_hidden_layers=4, hidden_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=16, global_head_dim=32,
    num_global_key_value_heads=1, attention_k_eq_v=True, layer_types=[sliding, full, sliding, sliding],
)
config.save_pretrained(sys.argv[1])
told = json.loads((Path(sys.argv[1]) / "config.json").read_text())
names = [name for name in NAMES if name in told]
print(f"saved names of global heads: {', '.join(names) or 'none'}")
print(f"per_layer_config: {json.dumps(told.get('per_layer_config'))}")
kinds = [kind.partition("_")[0] for kind in told["layer_types"]]
print(f"layer_types: {', '.join(kinds)}")
read = getattr(AutoConfig.from_pretrained(sys.argv[1]), "global_head_dim", None)
print(f"read back: global_head_dim {read}")
heads = {"head_dim": 32, "num_key_value_heads": 1}
seen = names, told.get("per_layer_config"), kinds, read
sys.exit(seen != ([], {"1": heads, "3": heads}, ["sliding", "full", "sliding", "full"], None))
PYTHON
"$folder/venv/bin/python" "$folder/save.py" "$folder/saved" 2>"$folder/said" || { tail -n 3 "$folder/said" >&2; exit 1; }
