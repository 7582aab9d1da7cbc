"""A small deterministic agent CLI: reads a prompt, edits a file, commits. Needs no model.

What it does follows from the prompt alone: the file to write is named there in backquotes, each
line after it that begins with `>` is written to it, a request for changes adds its own such lines,
and the word SLOWLY makes it take its time.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

STEP_S = 0.3
SLOW_STEP_S = 2.5
HALF_WAY = "half-way"

_FILE = re.compile(r"`([a-z][a-z0-9_-]*\.md)`")
_LINE = re.compile(r"^\s*(?:&gt;|>) (.+)$", re.MULTILINE)


def main() -> int:
    """Plays one turn in the current directory; exit code 2 for a prompt that it cannot play."""
    prompt = sys.stdin.read()
    named = _FILE.search(prompt)
    lines = list(dict.fromkeys(_LINE.findall(prompt)))
    if named is None or not lines:
        sys.stderr.write("the prompt names no file and no lines for it\n")
        return 2
    step = SLOW_STEP_S if "SLOWLY" in prompt else STEP_S
    _say(f"reading the task: {named[1]}", step)
    path = Path(named[1])
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    _say(f"{HALF_WAY}: wrote {len(lines)} lines, not committed yet", step)
    _git("add", "--", named[1])
    _git("commit", "--quiet", "-m", f"Write {named[1]}")
    _say("committed", step)
    _say(f"I wrote {named[1]} with {len(lines)} lines.", 0.0)
    return 0


def _say(text: str, seconds: float) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    time.sleep(seconds)


def _git(*args: str) -> None:
    subprocess.run(["git", *args], check=True)


if __name__ == "__main__":
    sys.exit(main())
