"""What is installed: licences, known vulnerabilities, lowest versions."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from trust.figure import Figure

ROOT = Path(__file__).parents[2]
EXTRAS = ("train", "onnx", "serve", "export", "search")
REFUSED = re.compile(r"\b(A?GPL|GNU (Affero )?General Public|non-?commercial|CC[- ]BY[- ]NC)", re.IGNORECASE)
ALLOWED = re.compile(r"\b(LGPL|Lesser General Public|MIT|BSD|Apache)", re.IGNORECASE)
SMOKE = """
import sys
from pathlib import Path
from lookalike.cli.main import main
from trust.jobs import SETUP, SAMPLE
import shutil
for identity in sorted(SAMPLE.iterdir())[:12]:
    shutil.copytree(identity, Path("photos") / identity.name)
for command in SETUP:
    if main(command.call()):
        sys.exit(f"{command.name} fails")
"""


def runtime_packages() -> dict[str, metadata.Distribution]:
    """The installed packages that Lookalike needs, with the extras for use, by name."""
    todo = [f"lookalike[{','.join(EXTRAS)}]"]
    packages: dict[str, metadata.Distribution] = {}
    visited = set()
    while todo:
        requirement = Requirement(todo.pop())
        key = (requirement.name.lower().replace("_", "-"), tuple(sorted(requirement.extras)))
        if key in visited:
            continue
        visited.add(key)
        try:
            package = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        packages[key[0]] = package
        for text in package.requires or []:
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(f"{needed.name}[{','.join(needed.extras)}]" if needed.extras else needed.name)
    return packages


def licence_of(package: metadata.Distribution) -> str:
    """The licence that a package declares: an expression, classifiers, or the first line of the field."""
    fields = package.metadata
    classifiers = [each for each in fields.get_all("Classifier") or [] if each.startswith("License")]
    first = (fields.get("License") or "").strip().partition("\n")[0]
    return fields.get("License-Expression") or "; ".join(classifiers) or first


def measure_licences(folder: Path, amount: int) -> Figure:
    """No package of the runtime closure is under the GPL, the AGPL or a non-commercial licence."""
    packages = runtime_packages()
    licences = {name: licence_of(package) for name, package in packages.items()}
    problems = [
        f"{name}: {licence[:80]}"
        for name, licence in sorted(licences.items())
        if REFUSED.search(licence) and not ALLOWED.search(licence)
    ]
    silent = sorted(name for name, licence in licences.items() if not licence)
    return Figure(
        f"{len(packages)} packages: {len(problems)} under the GPL, the AGPL or a non-commercial licence; "
        f"{len(silent)} do not declare one{': ' if silent else ''}{', '.join(silent)}",
        "0",
        problems,
    )


def measure_advisories(folder: Path, amount: int) -> Figure:
    """Ask pip-audit; without its database this is not measured."""
    names = {f"{name}=={package.version.partition('+')[0]}" for name, package in runtime_packages().items()}
    file = folder / "closure.txt"
    file.write_text("\n".join(sorted(each for each in names if not each.startswith("lookalike"))) + "\n")
    words = [
        sys.executable,
        "-m",
        "pip_audit",
        "--no-deps",
        "--disable-pip",
        "-r",
        str(file),
        "--format",
        "json",
    ]
    try:
        done = subprocess.run(
            [*words, "--timeout", "15"], capture_output=True, text=True, timeout=300, check=False
        )
        found = [each for each in json.loads(done.stdout)["dependencies"] if each.get("vulns")]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return Figure(
            "not measured: the database of advisories cannot be reached from this machine", "0 known"
        )
    problems = [f"{each['name']} {each['version']}: {each['vulns'][0]['id']}" for each in found]
    return Figure(f"{len(names)} packages: {len(problems)} with known vulnerabilities", "0 known", problems)


def measure_lowest(folder: Path, amount: int) -> Figure:
    """Run a workflow with the environment that `make lowest` installs."""
    python = ROOT / ".venv-lowest" / "bin" / "python"
    if not python.exists():
        return Figure(
            "not measured: `make lowest` has not installed the lowest versions here", "the workflow runs"
        )
    target = folder / "lowest"
    target.mkdir()
    done = subprocess.run(
        [python, "-c", SMOKE], cwd=target, env={"PYTHONPATH": str(ROOT / "tools"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    problems = [done.stderr[-400:]] if done.returncode else []
    outcome = "fails" if problems else "runs"
    return Figure(
        f"prepare, train, embed, index, evaluate: the workflow {outcome} with the lowest versions",
        "the workflow runs",
        problems,
    )
