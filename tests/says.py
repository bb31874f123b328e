"""A command that says what it reads and its arguments, and stays: ``python -m tests.says``."""

import sys
import time
from pathlib import Path

if __name__ == "__main__":
    print(repr(sys.stdin.read()), [Path(sys.argv[0]).stem, *sys.argv[1:]], flush=True)
    time.sleep(100)
