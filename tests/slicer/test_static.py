"""The extension's files agree with each other and with what the extension index takes."""

import ast
import json
import re
from pathlib import Path

import jsonschema
import pytest

from tests.slicer import slicer_window
from textseg3d.text.grammar import parse_prompt
from textseg3d.text.knowledge import load_tree

EXTENSION = Path(__file__).resolve().parents[2] / "slicer"
MODULE = EXTENSION / "TextSeg3D"
LIBRARY = MODULE / "TextSeg3DLib"
# The rules of slicer-extension-catalog-entry-schema-v1.0.2, in short.
SCHEMA = "slicer-extension-catalog-entry-schema-v1.0.2.json"
TEXT = {"type": "string"}
INDEX_SCHEMA = {
    "type": "object",
    "required": ["$schema", "category", "scm_url"],
    "additionalProperties": False,
    "properties": {
        **{name: TEXT for name in ("$schema", "category", "scm_url", "scm_revision")},
        **{name: TEXT for name in ("build_subdirectory", "dicom_support_rule")},
        "scm_type": {"enum": ["git", "local"]},
        "build_dependencies": {"type": "array", "items": TEXT},
        "enabled": {"type": "boolean"},
        "tier": {"type": "integer", "minimum": 1, "maximum": 5},
    },
}


def cmake_list(name):
    text = (MODULE / "CMakeLists.txt").read_text()
    body = re.search(rf"set\({name}\n(.*?)\)\n", text, re.DOTALL).group(1)
    return {line.strip().replace("${MODULE_NAME}", "TextSeg3D") for line in body.split("\n")} - {""}


def test_cmake_lists_are_the_tree():
    scripts = {p.relative_to(MODULE).as_posix() for p in MODULE.rglob("*.py")}
    assert cmake_list("MODULE_PYTHON_SCRIPTS") == scripts
    resources = (MODULE / "Resources").rglob("*")
    assert cmake_list("MODULE_PYTHON_RESOURCES") == {
        p.relative_to(MODULE).as_posix() for p in resources if p.is_file()
    }


def test_index_entry_is_valid():
    entry = json.loads((EXTENSION / "TextSeg3D.json").read_text())
    jsonschema.validate(entry, INDEX_SCHEMA)
    assert entry["$schema"].partition("#")[0].endswith(f"/{SCHEMA}")
    project = re.search(r"project\((\w+)\)", (EXTENSION / "CMakeLists.txt").read_text()).group(1)
    assert project == "TextSeg3D"  # the entry's own name, as the index asks
    assert (EXTENSION / "LICENSE.txt").read_text() == (EXTENSION.parent / "LICENSE").read_text()


def test_nothing_but_what_slicer_brings_is_imported():
    own = {p.stem for p in LIBRARY.glob("*.py")}
    allowed = {"numpy", "slicer", "vtk", "qt", "TextSeg3DLib"} | own
    import sys

    for path in MODULE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                root = name.split(".")[0]
                assert root in allowed or root in sys.stdlib_module_names, f"{path.name}: {name}"
    for word in ("pip_install", "pip_ensure", "PyTorchUtils"):
        assert all(word not in path.read_text() for path in MODULE.rglob("*.py"))


def used_widgets():
    """Names after `ui.` in the module."""
    found = set()
    for path in (LIBRARY / "panel.py", MODULE / "TextSeg3D.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("ui", "self.ui"):
                found.add(node.attr)
    return found


def test_ui_has_every_widget_that_the_code_names():
    widget = slicer_window.load_ui(MODULE / "Resources" / "UI" / "TextSeg3D.ui")
    assert isinstance(widget, slicer_window.SlicerWidget)
    ui = slicer_window.named(widget)
    used = used_widgets()
    assert len(used) > 20
    assert used - set(vars(ui)) == set()
    bound = {w.property("SlicerParameterName") for w in vars(ui).values()} - {None}
    fields = {
        node.target.id
        for node in ast.walk(ast.parse((MODULE / "TextSeg3D.py").read_text()))
        if isinstance(node, ast.AnnAssign)
    }
    assert bound == {"inputVolume", "segmentation"}
    assert bound <= fields
    assert isinstance(ui.inputSelector, slicer_window.NodeComboBox)
    assert ui.tokenEdit.echoMode() == ui.tokenEdit.EchoMode.Password


def lines(name):
    text = (MODULE / "Resources" / name).read_text()
    return text.splitlines() if name.endswith(".txt") else json.loads(text)


def test_vocabulary_is_of_the_tree():
    tree = load_tree()
    phrases = lines("vocabulary.txt")
    assert len(phrases) == len(set(phrases)) > 1500
    assert {"left kidney", "right kidney", "liver"} <= set(phrases)
    wrong = [
        phrase
        for phrase in phrases[::23]
        if [t.concept in tree for t in parse_prompt(phrase, tree).targets] != [True]
    ]
    assert wrong == [], "run slicer/tools/make_vocabulary.py"


@pytest.mark.parametrize("name", lines("presets.json"))
def test_presets_are_understood(name):
    for prompt in lines("presets.json")[name]:
        parsed = parse_prompt(prompt, load_tree())
        assert (parsed.status, len(parsed.targets)) == ("ok", 1), prompt
