"""Follow the README's tutorial, word for word: run in a copy of the checkout, in a new environment.

Every block of "Set up" and "Examples" is typed into a shell or into Python, in their order; then
what the text promises must be there. Needs nothing but the standard library at its start.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

CHAPTERS = ("Set up", "Examples")
WRITTEN = {
    "out": {"chest_ct.json", "chest_ct__left-lung.nii.gz", "chest_ct__liver.nii.gz"},
    "out/picture": {"chest_ct__heart.nii.gz", "chest_ct.preview.png"},
    "out/python": {"chest_ct.json", "chest_ct__left-lung.nii.gz", "chest_ct__liver.nii.gz"},
}


def blocks(readme: str) -> list[tuple[str, str]]:
    """Language and text of every block of the tutorial."""
    chapters = [readme.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0] for name in CHAPTERS]
    return re.findall(r"^```(\w+)\n(.*?)^```", "\n".join(chapters), re.MULTILINE | re.DOTALL)


def main() -> None:
    """Run the blocks; exit with the first that fails, or with what is missing."""
    if Path("out").exists():
        sys.exit("there is an out/ here already; start from a copy of the checkout")
    for language, text in blocks(Path("README.md").read_text(encoding="utf-8")):
        print(f"$ {text}", flush=True)
        program = {"bash": ["bash", "-euo", "pipefail"], "python": [sys.executable, "-"]}[language]
        done = subprocess.run(program, input=text, text=True, check=False)
        if done.returncode:
            sys.exit(f"exit code {done.returncode} of a block of the README:\n{text}")
    for folder, names in WRITTEN.items():
        missing = names - {path.name for path in Path(folder).iterdir()}
        if missing:
            sys.exit(f"the README's commands wrote no {', '.join(sorted(missing))} into {folder}/")
    record = json.loads(Path("out/chest_ct.json").read_text(encoding="utf-8"))
    for entry in record["prompts"]:
        if entry["status"] != "ok" or not {"presence", "volume_ml", "instances"} <= set(entry):
            sys.exit(f"the record says of {entry['text']!r}: {entry}")
    print("the README was followed")


if __name__ == "__main__":
    main()
