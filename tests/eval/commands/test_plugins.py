"""`--plugin`: what a file registers is known before the command line is read; a bad file is one line."""

from __future__ import annotations

import pytest

from eval.cli import COMMANDS, build_parser, commands_of, main

SOURCE = """
from dataclasses import dataclass
import attention

@attention.register
@dataclass(frozen=True)
class {title}(attention.Variant):
    name = "{title}".lower()
    window: int

    def pattern(self):
        return attention.SpanPattern((self.window,))
"""


def written(folder, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_several_files_before_or_after_the_command(tmp_path, capsys):
    near, far = (written(tmp_path, f"{title}.py", SOURCE.format(title=title)) for title in ("Near", "Far"))
    words = ["--model", "tiny-dense", "--layouts", "near(5)+far(7)", "--tokens", "9"]
    assert main(["crossover", "--plugin", near, *words, f"--plugin={far}"]) == 0
    assert "near(5)+far(7)" in capsys.readouterr().out
    assert main(["crossover", "--plug", near, *words]) == 0  # once in a process is enough


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.py", None, "none.py: no such file; a Python file is wanted"),
        ("~nobodyxyz/m.py", None, "~nobodyxyz/m.py: no such file; a Python file is wanted"),
        ("x" * 300, None, "no such file; a Python file is wanted"),
        ("notes.txt", "x", "notes.txt: not a Python file; a Python file is wanted"),
        ("odd.py", "def (:", "odd.py: SyntaxError: invalid syntax"),
        (
            "fails.py",
            "import attention\n\nattention.made('x')",
            "fails.py: line 3: AttributeError: module 'attention' has",
        ),
        ("taken.py", SOURCE.format(title="Swa"), "attention variant 'swa' is there already"),
        (
            "nothing.py",
            "import attention\nattention.register(3)",
            "line 2: ValueError: register takes a subclass of Mixer",
        ),
    ],
)
def test_a_bad_file_is_one_line(name, text, said, tmp_path, capsys):
    path = str(tmp_path / name) if text is None else written(tmp_path, name, text)
    assert main(["variants", "--plugin", path]) == 2
    err = capsys.readouterr().err
    assert err.startswith("prefillwall variants: --plugin ") and said in err and err.count("\n") == 1


def test_a_plugin_without_a_file_is_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["variants", "--plugin"])
    assert "--plugin: expected one argument" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_one(command):
    options = [
        option for action in commands_of(build_parser([command]))[command]._actions for option in action.option_strings
    ]
    assert "--plugin" in options
