"""The examples and the table of exit codes that stand below each command's help."""

from __future__ import annotations

import argparse
import textwrap

# Command → pairs of what an example does and how it is typed.
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "predict": (
        (
            "two masks, with a picture of them",
            'textseg3d predict -i ct.nii.gz -p "left lung" "liver" -o out/ --preview',
        ),
        (
            "a DICOM folder, as segments for 3D Slicer",
            "textseg3d predict -i series/ -p spleen --format seg.nrrd",
        ),
        (
            "everything that the model knows, in a folder of scans",
            "textseg3d predict -i scans/ --all -o out/ --resume",
        ),
    ),
    "ground": (
        (
            "what a report finds, in its scan",
            "textseg3d ground -i ct.nii.gz -r report.txt -o out/ --html",
        ),
    ),
    "prompt": (
        (
            "structure, side, size and codes of a prompt",
            'textseg3d prompt "6 mm nodule in the LLL" --json',
        ),
    ),
    "check": (("every rule, before anything is segmented", "textseg3d check series/"),),
    "plan": (("what would be trained on Dataset004, and why", "textseg3d plan -d 4 --explain"),),
    "preprocess": (
        ("one configuration of a planned dataset", "textseg3d preprocess -d 4 -c 3d_fullres"),
    ),
    "plan_and_preprocess": (
        (
            "both, after a check of all cases",
            "textseg3d plan_and_preprocess -d 4 --verify_dataset_integrity",
        ),
    ),
    "synthesize": (
        (
            "twenty volumes that no one has seen, from a prepared training set",
            "textseg3d synthesize training/ -o made/ -n 20 --seed 1",
        ),
    ),
    "evaluate": (
        (
            "masks against truth, as nnU-Net scores them",
            "textseg3d evaluate labelsTr predictions -djfile dataset.json",
        ),
    ),
    "serve": (
        ("for programs on this machine", "textseg3d serve"),
        (
            "for others too: the token and the name are yours to choose",
            "textseg3d serve --host 0.0.0.0 --token a-secret-of-yours --allow-host gpu.local",
        ),
    ),
    "ui": (
        ("the page, in the browser that is the default", "textseg3d ui"),
        (
            "on another machine: forward the port with ssh, then open the address",
            "textseg3d ui --no-browser --port 8765",
        ),
    ),
    "models": (
        ("what is there", "textseg3d models list"),
        ("what a model knows, how well, and under which licence", "textseg3d models info ct-nano"),
    ),
    "doctor": (("what this machine has and lacks", "textseg3d doctor"),),
    "completion": (
        ("for this shell, until it is closed", "source <(textseg3d completion bash)"),
        (
            "for all",
            "textseg3d completion bash > ~/.local/share/bash-completion/completions/textseg3d",
        ),
    ),
}
EXIT_CODES = (
    "exit codes:\n"
    "  0 ok, 1 unexpected, 2 wrong use, 3 bad input, 4 out of memory or a missing package,\n"
    "  5 finished with failed cases, 130 cancelled\n"
)


class HelpFormatter(argparse.HelpFormatter):
    """Wraps paragraphs as usual, but leaves text that has lines of its own as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return textwrap.indent(text, indent)
        return super()._fill_text(text, width, indent)


def epilog(command: str) -> str:
    """What stands below the help of a command: examples if there are any, exit codes."""
    lines = [f"  # {what}\n  {line}\n" for what, line in EXAMPLES.get(command, ())]
    examples = "examples:\n" + "\n".join(lines) + "\n" if lines else ""
    return examples + EXIT_CODES
