"""The built wheel: it holds all that the package needs at run time, and its extras can be installed."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command: str | Path, **more: object) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def uv() -> str:
    """The uv of this environment, else the one on the PATH."""
    found = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if found is None:
        pytest.skip("uv is not installed: pip install uv")
    return found


@pytest.fixture(scope="session")
def wheel(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources, so that nothing is left beside them."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    litter = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
    shutil.copytree(ROOT / "src", source / "src", ignore=litter)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, source)
    run(uv, "build", "--quiet", "--wheel", "--out-dir", out, source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def unpacked_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_package(unpacked_wheel: Path) -> None:
    source = ROOT / "src" / "lookalike"
    wanted = {
        str(file.relative_to(source))
        for file in source.rglob("*")
        if file.is_file() and not any(part.startswith((".", "__pycache__")) for part in file.parts)
    }
    held = {
        str(file.relative_to(unpacked_wheel / "lookalike"))
        for file in (unpacked_wheel / "lookalike").rglob("*")
        if file.is_file()
    }
    assert held == wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "least"),
    [
        ("conf/**/*.yaml", 20),
        ("sample/emoji/*/*.png", 1500),
        ("sample/credits/LICENSES/*.txt", 3),
        ("sample/credits/README.md", 1),
        ("report/**/*.html*", 1),
        ("py.typed", 1),
    ],
)
def test_wheel_holds_data(unpacked_wheel: Path, pattern: str, least: int) -> None:
    assert len(list((unpacked_wheel / "lookalike").glob(pattern))) >= least


@pytest.mark.slow
def test_wheel_carries_all_licences_and_the_command(unpacked_wheel: Path) -> None:
    (info,) = unpacked_wheel.glob("*.dist-info")
    licences = {file.name for file in (info / "licenses").rglob("*") if file.is_file()}
    assert {"LICENSE", "Apache-2.0.txt", "MIT.txt", "CC-BY-4.0.txt"} <= licences
    assert "lookalike = lookalike.cli.main:main" in (info / "entry_points.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_command_works_from_the_wheel_alone(unpacked_wheel: Path, tmp_path: Path) -> None:
    alone = {**os.environ, "PYTHONPATH": str(unpacked_wheel)}
    where = run(sys.executable, "-c", "import lookalike; print(lookalike.__file__)", cwd=tmp_path, env=alone)
    assert Path(where.strip()).is_relative_to(unpacked_wheel)
    assert "epochs" in run(sys.executable, "-m", "lookalike", "train", "--help", cwd=tmp_path, env=alone)


@pytest.mark.slow
def test_extras_of_the_wheel_resolve_together_with_the_constraints(uv: str, wheel: Path) -> None:
    extras = sorted(PROJECT["optional-dependencies"])
    target = f"lookalike[{','.join(extras)}] @ {wheel.as_uri()}"
    constraints = ROOT / "constraints.txt"
    said = run(uv, "pip", "install", "--dry-run", "--python", sys.executable, "-c", constraints, target)
    assert "lookalike" in said
    assert "does not have an extra" not in said


def test_constraints_are_exact_versions_and_nothing_else() -> None:
    line = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9._!+]+( ; python_version (<|>=) \"3\.\d+\")?")
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [text for text in lines if not line.fullmatch(text)] == []
    assert lines == sorted(lines, key=str.lower)


def test_constraints_name_every_direct_dependency() -> None:
    pinned = {
        plain(text.partition("==")[0])
        for text in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(name for extra in extras for name in extra)]
    assert {plain(re.split(r"[\[<>=! ;]", text)[0]) for text in wanted} <= pinned


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
