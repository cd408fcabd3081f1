"""The names of the package `lookalike`: what they are, and what importing them costs."""

import inspect
import subprocess
import sys

import pytest

import lookalike

CALLABLE = {
    "clean": "findings",
    "cluster": "result",
    "explore": "folder",
    "prepare": "table",
    "report": "page",
    "serve": "errors",
}
"""Packages that are functions, too, and a module of each."""


def run(*lines):
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


@pytest.mark.parametrize("name", sorted(lookalike.__all__))
def test_every_public_name_exists(name):
    assert getattr(lookalike, name) is not None


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="nothing"):
        lookalike.nothing  # noqa: B018


def test_importing_the_package_imports_no_library():
    run("import sys, lookalike", "assert not {'torch', 'numpy', 'polars', 'PIL'} & set(sys.modules)")


@pytest.mark.parametrize("module_first", [False, True])
def test_packages_that_are_functions_stay_packages(module_first):
    """Python binds a subpackage to its name in the package, whichever is imported first."""
    imports = [
        f"import lookalike.{name}.{module} as {module}; assert {module}" for name, module in CALLABLE.items()
    ]
    calls = ["import lookalike", *(f"assert callable(lookalike.{name})" for name in CALLABLE)]
    run(*(imports + calls if module_first else calls + imports), *calls)


@pytest.mark.parametrize("name", CALLABLE)
def test_packages_that_are_functions_have_an_explicit_signature(name):
    parameters = inspect.signature(getattr(lookalike, name)).parameters
    assert len(parameters) > 5
    assert not any(one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL) for one in parameters.values())
