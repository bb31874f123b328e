"""The examples of docs/plugins.md: the files and commands that stand there, as a reader would try them."""

import re
import shlex
from pathlib import Path

from tests.conftest import TINY, command

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"
SHORT = ["--samples=128", "--batch_size=32", "--data.loader_workers=0"]  # given last, in place of what the page says
FEW = ["--samples=64", "--reals=64"]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def test_the_examples_of_plugins_run_as_they_stand_there(tmp_path, digits):
    files = {found[1]: text for text in blocks("python") if (found := re.match(r"# (\w+\.py)\n", text))}
    assert sorted(files) == ["judging.py", "shallow.py", "soft.py", "squared_hinge.py"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    commands = [line.partition("   #")[0] for text in blocks("bash") for line in text.splitlines()]
    commands = [shlex.split(line) for line in commands if any(name in line for name in files)]
    trained = [words for words in commands if words[2] == "ragdist.train" and "--out" in words]
    evaluated = next(words for words in commands if words[2] == "ragdist.evaluate" and "--features" in words)
    assert len(trained) == 3
    for _, _, module, *words in trained:
        own = [word for word in TINY if word.partition("=")[0] not in words]
        result = command(module, *own, *words, *SHORT, f"--data={digits}", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    module, words = evaluated[2], ["runs/hinge" if word == "runs/digits" else word for word in evaluated[3:]]
    result = command(module, *words, *FEW, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^spread of pairs +\d", result.stdout, re.MULTILINE), result.stdout
