"""What is called wrongly is told in one line, where it was called."""

from __future__ import annotations

import json
import subprocess
import sys


def test_every_bad_call_is_one_line():
    done = subprocess.run([sys.executable, "-m", "tests.bad_calls"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert len(found) >= 100
    for words, told in found.items():
        assert told["kind"] == "ValueError", (words, told)
        assert words.strip() in told["text"] and "\n" not in told["text"], (words, told)
