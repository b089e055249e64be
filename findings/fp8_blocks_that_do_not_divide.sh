#!/usr/bin/env bash
# transformers 5.24.0 with torch 2.13.0, on a machine without a GPU: a folder of 8-bit floats with a scale for each block
# of 128 x 128 (`quant_method: fp8`, `weight_block_size: [128, 128]`) is expanded while it is read.  Where a side of a
# matrix is no multiple of 128, the last block is short, as in the 576 rows of DeepSeek-V3's kv_a_proj_with_mqa.
#
# One would expect each element times the scale of its block of 128.  Seen: `weight_block_size` is not looked at; the
# side is divided by the number of scales where that divides it (else it is an error), so that 192 rows with 2 scales are
# two blocks of 96.  Rows 96 to 127 get the second scale and nothing is said; multiples of 128 are right.
#
# Output seen:
#   transformers 5.24.0, torch 2.13.0
#   256 rows: 0 rows differ
#   192 rows: 32 rows differ, 96 to 127
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.13.0 transformers==5.24.0 accelerate==1.15.0 2>/dev/null
cat > "$folder/expand.py" <<'PYTHON'
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

transformers.utils.logging.set_verbosity_error()
print(f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}")
NAME = "model.layers.0.self_attn.q_proj.weight"
found = {}
for rows in (256, 192):
    folder = Path(sys.argv[1]) / str(rows)
    config = transformers.LlamaConfig(
        hidden_size=128, head_dim=rows // 2, num_attention_heads=2, num_key_value_heads=2, intermediate_size=128,
        num_hidden_layers=1, vocab_size=32, tie_word_embeddings=False,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    for name, weight in list(tensors.items()):
        if "_proj" in name:
            blocks = [-(-side // 128) for side in weight.shape]
            tensors[name] = torch.ones(weight.shape).to(torch.float8_e4m3fn)
            tensors[f"{name}_scale_inv"] = torch.arange(1.0, 1 + blocks[0] * blocks[1]).reshape(blocks)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    told = json.loads((folder / "config.json").read_text())
    told["quantization_config"] = {
        "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
        "modules_to_not_convert": ["lm_head"],
    }
    (folder / "config.json").write_text(json.dumps(told))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    meant = 1 + torch.arange(rows) // 128
    differ = (model.state_dict()[NAME][:, 0] != meant).nonzero().flatten().tolist()
    found[rows] = differ
    where = f", {differ[0]} to {differ[-1]}" if differ else ""
    print(f"{rows} rows: {len(differ)} rows differ{where}")
sys.exit(found != {256: [], 192: list(range(96, 128))})
PYTHON
"$folder/venv/bin/python" "$folder/expand.py" "$folder" 2>"$folder/said" || { tail -n 3 "$folder/said" >&2; exit 1; }
