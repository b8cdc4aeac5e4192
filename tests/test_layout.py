"""The order of the house: tests mirror the sources, names mean something, files stay readable."""

import ast
from pathlib import Path

import pytest

import delineate

TESTS = Path(__file__).parent
PACKAGE = Path(delineate.__file__).parent
MODULES = sorted(
    path.relative_to(PACKAGE)
    for path in PACKAGE.rglob("*.py")
    # A module with an underscore serves one public module and is tested through it.
    if not any(part.startswith("_") and part != "__init__.py" for part in path.relative_to(PACKAGE).parts)
)
NAMELESS = {"util", "utils", "common", "core", "base", "helpers", "misc"}
MAX_LINES, MAX_FUNCTION_LINES, MAX_ARGUMENTS, MAX_DEPTH = 400, 60, 8, 2
LONG_FILES = {"models/yolo_seg.py": 650}
"""Exceptions to MAX_LINES and what they may grow to: a model family is one file."""


def sources():
    return sorted(PACKAGE.rglob("*.py"))


def functions(path):
    tree = ast.parse(path.read_text("utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def twin(module):
    """tests/formats/test_coco.py for formats/coco.py; tests/formats/test_init.py for formats/__init__.py."""
    return TESTS / module.with_name(f"test_{module.stem.strip('_')}.py")


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_has_a_twin(module):
    if module.name == "__init__.py" and not functions(PACKAGE / module):
        pytest.skip("only names its members")
    assert twin(module).is_file(), f"{module} has no tests: write {twin(module).relative_to(TESTS.parent)}"


def test_every_folder_of_tests_mirrors_a_package():
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    assert [folder for folder in folders if not (PACKAGE / folder).is_dir()] == []


def test_names_are_nouns_of_the_field():
    named = [path for path in sources() if {path.stem, path.parent.name} & NAMELESS]
    assert named == [], "a helper lives with its one user, or earns a noun"


def test_folders_are_shallow():
    assert max(len(path.relative_to(PACKAGE).parts) - 1 for path in sources()) <= MAX_DEPTH


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_fit_their_budgets(path):
    name = str(path.relative_to(PACKAGE))
    lines = len(path.read_text("utf-8").splitlines())
    over = [f"{name}: {lines} lines"] if lines > LONG_FILES.get(name, MAX_LINES) else []
    for function in functions(path):
        start = function.body[0]
        if isinstance(start, ast.Expr) and isinstance(start.value, ast.Constant) and len(function.body) > 1:
            start = function.body[1]  # the docstring does not count
        body = function.end_lineno - start.lineno + 1
        if body > MAX_FUNCTION_LINES:
            over.append(f"{name}:{function.lineno}: {function.name} has {body} lines")
        arguments = function.args
        count = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
        if count > MAX_ARGUMENTS + 1 and not name.startswith(
            "cli/"
        ):  # one for self; options are no arguments
            over.append(f"{name}:{function.lineno}: {function.name} has {count} arguments")
    assert over == []
