"""Rules of the code base that a reader relies on, checked on the sources themselves."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "textseg3d"
KERNELS = ROOT / "kernels" / "textseg3d_kernels"
MODULES = sorted([*PACKAGE.rglob("*.py"), *KERNELS.rglob("*.py")])
MAX_LINES = 500
MAX_FUNCTION_LINES = 90  # without the docstring

# Part → the parts that it may import. Data flows downwards; the command line and the server wire
# everything. Training and inference are two branches that do not know each other. The zoo stands
# early: it only finds, describes and checks folders, and whatever loads a model needs that.
BASE = {"errors", "suggest", "registry", "resources"}
IO = BASE | {"io"}
PLANS = IO | {"plans"}
ZOO = PLANS | {"zoo"}
DATASET = PLANS | {"dataset"}
PREPROCESSING = DATASET | {"preprocessing"}
TEXT = PREPROCESSING | {"text"}
NETWORKS = TEXT | {"networks"}
SYNTHESIS = NETWORKS | {"synthesis"}
TRAINING = SYNTHESIS | {"training"}
INFERENCE = NETWORKS | ZOO | {"inference"}
CONVERT = INFERENCE | {"convert"}
EXPORT = INFERENCE | {"export"}
REPORTS = EXPORT | {"reports"}
COHORT = EXPORT | {"cohort"}
EVALUATION = EXPORT | {"evaluation"}
BENCHMARK = EXPORT | CONVERT | {"api", "benchmark"}
TOP = EVALUATION | REPORTS | COHORT | TRAINING | BENCHMARK
ALLOWED = {
    **{name: BASE for name in BASE},
    "io": IO,
    "plans": PLANS,
    "dataset": DATASET,
    "preprocessing": PREPROCESSING,
    "text": TEXT,
    "networks": NETWORKS,
    "synthesis": SYNTHESIS,
    "training": TRAINING,
    "inference": INFERENCE,
    "export": EXPORT,
    "reports": REPORTS,
    "cohort": COHORT,
    "evaluation": EVALUATION,
    "zoo": ZOO,
    "convert": CONVERT,
    "api": EXPORT,
    "benchmark": BENCHMARK,
    "cli": TOP | {"cli", "server"},
    "server": TOP | {"server"},
    "client": BASE | {"client"},
}
# Module names of what setup.py names, where they differ from the distribution's.
IMPORT_NAMES = {
    "open_clip_torch": "open_clip",
    "pynrrd": "nrrd",
    "connected-components-3d": "cc3d",
    "scikit-image": "skimage",
}
NOT_IMPORTED = {"torchvision"}  # open_clip imports it
NOT_DECLARED = {"triton"}  # optional; torch brings it where there is a GPU build


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Dotted names that a module imports, at its top or inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def test_imports_go_in_one_direction() -> None:
    faults = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] not in ALLOWED:  # the next test names parts that have no place
            continue
        for name in imports_of(parsed(path), ("textseg3d", *parts[:-1])):
            target = name.split(".")
            if target[0] != "textseg3d" or len(target) < 2 or target[1] not in ALLOWED:
                continue
            if target[1] not in ALLOWED[parts[0]]:
                faults.append(f"{name_of(path)} imports {name}")
    assert faults == []


def test_every_part_has_its_place() -> None:
    parts = {p.stem if p.is_file() else p.name for p in PACKAGE.iterdir() if p.name[0] != "_"}
    assert parts - set(ALLOWED) == set(), "add the part to ALLOWED, with what it may import"


def test_kernels_are_a_leaf() -> None:
    for path in sorted(KERNELS.rglob("*.py")):
        package = ("textseg3d_kernels", *path.relative_to(KERNELS).parts[:-1])
        for name in imports_of(parsed(path), package):
            assert name.split(".")[0] != "textseg3d", f"{name_of(path)} imports {name}"


def setup_literal(name: str) -> Any:
    """A list or dict that setup.py assigns to ``name``."""
    for node in parsed(ROOT / "setup.py").body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"setup.py has no {name}")


def module_names(requirements: list[str]) -> set[str]:
    names = {re.split(r"[<>=!\[]", text)[0] for text in requirements}
    return {IMPORT_NAMES.get(name, name) for name in names}


def test_requirements_are_what_is_imported() -> None:
    """Core packages are all imported, and nothing is imported that no user can install."""
    imported: set[str] = set()
    for path in MODULES:
        imported |= {name.split(".")[0] for name in imports_of(parsed(path), ("textseg3d",))}
    imported -= set(sys.stdlib_module_names) | {"textseg3d", "textseg3d_kernels", "__future__"}
    core = module_names(setup_literal("CORE")) - NOT_IMPORTED
    extras = setup_literal("EXTRAS")
    optional = set().union(*(module_names(extras[name]) for name in extras if name != "test"))
    assert core - imported == set()
    assert imported - core - optional == NOT_DECLARED


def test_messages_name_extras_that_exist() -> None:
    known = set(setup_literal("EXTRAS"))
    for path in [*MODULES, *ROOT.glob("*.md")]:
        named = re.findall(r"textseg3d\[([\w,]+)\]", path.read_text(encoding="utf-8"))
        assert {extra for text in named for extra in text.split(",")} <= known, name_of(path)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    for node in ast.walk(parsed(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node):
                length -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


def public_functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Functions of a module and methods of its classes whose names are all public."""
    for node in parsed(path).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for item in node.body:
                if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield f"{node.name}.{item.name}", item
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=name_of)
def test_public_functions_are_documented_and_typed(path: Path) -> None:
    assert ast.get_docstring(parsed(path)), "the module has no docstring"
    faults = []
    for name, node in public_functions(path):
        if any(part.startswith("_") for part in name.split(".")):
            continue
        overload = any("overload" in ast.unparse(d) for d in node.decorator_list)
        override = any(ast.unparse(d).endswith("override") for d in node.decorator_list)
        inherited = path.name != "__init__.py" and node.name in INHERITED_METHODS
        if not (ast.get_docstring(node) or overload or override or inherited):
            faults.append(f"{name} has no docstring")
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        if bare:
            faults.append(f"{name} has untyped arguments {bare}")
        if node.returns is None:
            faults.append(f"{name} has no return type")
    assert faults == []


INHERITED_METHODS = {"format", "emit"}  # of logging's classes, documented there


def tracked_files() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_machine_paths_or_secrets_in_committed_text() -> None:
    # Written in pieces, so that this file does not find itself.
    machine = re.compile(
        "|".join(
            ("/wor" + r"k/(main|shared)", "/ro" + r"ot/", "/hom" + r"e/\w+/", r"[A-Z]:\\Users\\")
        )
    )
    secret = re.compile("|".join(("hf" + r"_[A-Za-z0-9]{30,}", "BEGIN" + r" [A-Z ]*PRIVATE KEY")))
    faults = []
    for path in tracked_files():
        raw = path.read_bytes()
        if b"\0" in raw[:4096] or len(raw) > 2**22:
            continue
        text = raw.decode("utf-8", errors="replace")
        for rule in (machine, secret):
            found = rule.search(text)
            if found:
                faults.append(f"{name_of(path)}: {found.group()}")
    assert faults == []


@pytest.mark.parametrize("folder", ["kernels", "plans", "model_zoo"])
def test_data_folders_are_no_packages(folder: str) -> None:
    """Packages of the names `kernels` and `plans` exist elsewhere; ours must not shadow them."""
    assert (ROOT / folder).is_dir()
    assert not (ROOT / folder / "__init__.py").exists()


def test_no_print_in_library_code() -> None:
    faults = []
    for path in MODULES:
        if "cli" in path.relative_to(ROOT).parts:
            continue
        faults += [
            f"{name_of(path)}:{node.lineno}"
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        ]
    assert faults == []


LOADERS = {"pickle.load", "pickle.loads", "torch.load", "joblib.load", "eval", "exec"}


def test_nothing_loads_pickles_or_runs_text() -> None:
    faults = []
    for path in MODULES:
        faults += [
            f"{name_of(path)}:{node.lineno} {ast.unparse(node.func)}"
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.Call) and ast.unparse(node.func) in LOADERS
        ]
    assert faults == []
