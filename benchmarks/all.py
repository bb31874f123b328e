"""Measure what the docs say was measured: run the commands of their tables anew and put in what they print.

    python -m benchmarks.all [--only WORD ...] [--pages docs/performance.md ...]

A table in the docs begins with a comment that names its command and ends with another:

    <!-- measured: python -m benchmarks.update --batch_size 64 -->
    ...
    <!-- end -->

What lies between is replaced by the command and its output. A command that fails leaves its table as it was. Each is
written when it ends, so that a run that is stopped keeps what it had. CIFAR-10's shards are expected in
shards/cifar10; some commands need root (a cluster in network namespaces).
"""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import options as command_line
from ragdist.storage.files import write_whole

BLOCK = re.compile(r"<!-- measured: (?P<command>.+?) -->\n.*?<!-- end -->", re.DOTALL)


def commands(text: str) -> list[str]:
    """The commands of a page's tables."""
    return [found["command"] for found in BLOCK.finditer(text)]


def replaced(text: str, command: str, output: str) -> str:
    """The page with this output in the table of this command."""
    content = f"<!-- measured: {command} -->\n```bash\n{command}\n```\n\n{output.strip()}\n<!-- end -->"
    return BLOCK.sub(lambda found: content if found["command"] == command else found[0], text)


def main() -> int:
    parser = command_line.parser("all", __doc__)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="commands with one of these words")
    parser.add_argument("--pages", nargs="+", type=Path, default=sorted(Path("docs").glob("*.md")))
    options = parser.parse_args()
    failed = 0
    for page in options.pages:
        chosen = [c for c in commands(page.read_text()) if any(word in c for word in options.only)]
        for number, command in enumerate(chosen, 1):
            print(f"{page}, {number} of {len(chosen)}: {command}", flush=True)
            began = time.monotonic()
            python, *rest = shlex.split(command)
            argv = [sys.executable if python == "python" else python, *rest]
            result = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
            took = f"{time.monotonic() - began:,.0f} s"
            if result.returncode:
                failed += 1
                print(f"exit code {result.returncode} after {took}: its table stays as it was", flush=True)
                continue
            write_whole(page, replaced(page.read_text(), command, result.stdout))
            print(f"written after {took}", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
