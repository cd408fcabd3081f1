"""Imports go down the layers of pyproject.toml, and no modules import one another, not even for types."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
LAYERS = [
    {name.strip().removeprefix("lookalike.") for name in layer.split(":")}
    for layer in CONTRACT["contracts"][0]["layers"]
]
HEIGHT = {package: -number for number, layer in enumerate(LAYERS) for package in layer}
ENTRANCES = {"", "__main__"}
"""Modules at the top of the package, which may import anything."""


@pytest.fixture(scope="module")
def measure():
    spec = importlib.util.spec_from_file_location("measure", ROOT / "tools" / "measure.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def imports(measure):
    return measure.read_imports(measure.read_modules(ROOT / "src"), runtime=False)


@pytest.fixture(scope="module")
def package_imports(measure, imports):
    graph = {measure.package_of(module): set() for module in imports}
    for module, others in imports.items():
        graph[measure.package_of(module)] |= {measure.package_of(other) for other in others}
    return {package: others - {package} - ENTRANCES for package, others in graph.items()}


def test_every_package_is_in_one_layer(package_imports):
    assert package_imports.keys() - ENTRANCES == HEIGHT.keys()
    assert sum(map(len, LAYERS)) == len(HEIGHT)


def test_imports_go_down_only_those_for_types_too(package_imports):
    up = {
        f"{package} imports {other}"
        for package in package_imports.keys() - ENTRANCES
        for other in package_imports[package]
        if HEIGHT[package] < HEIGHT[other]
    }
    assert not up


def test_no_packages_import_one_another(measure, package_imports):
    graph = {package: others for package, others in package_imports.items() if package not in ENTRANCES}
    assert measure.find_cycles(graph) == []


def test_no_modules_import_one_another_while_they_are_imported(measure):
    graph = measure.read_imports(measure.read_modules(ROOT / "src"), runtime=True)
    assert measure.find_cycles(graph) == []


def test_no_modules_import_one_another_for_their_types(measure, imports):
    assert not measure.find_cycles(imports), "move what both need into a third module, below them"


def test_import_linter_looks_at_imports_for_types():
    assert CONTRACT["exclude_type_checking_imports"] is False


SOURCES = {
    "at import": "from lookalike.data import b",
    "of a member": "from lookalike.data.b import name",
    "for types": "if TYPE_CHECKING:\n    from lookalike.data.b import Name",
    "late": "def f():\n    from lookalike.data.b import name",
    "in a branch": "try:\n    import lookalike.data.b\nexcept ImportError:\n    pass",
}


@pytest.mark.parametrize("kind", SOURCES)
def test_cycles_of_every_kind_are_seen(measure, kind, tmp_path):
    folder = tmp_path / "lookalike" / "data"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text(SOURCES[kind], encoding="utf-8")
    (folder / "b.py").write_text("from lookalike.data.a import x", encoding="utf-8")
    modules = measure.read_modules(tmp_path)
    assert measure.find_cycles(measure.read_imports(modules, runtime=False)) == [
        ["lookalike.data.a", "lookalike.data.b"]
    ]
    runtime = measure.find_cycles(measure.read_imports(modules, runtime=True))
    assert bool(runtime) == (kind not in ("for types", "late"))
