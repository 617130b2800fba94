"""pyproject.toml, constraints.txt, environment.yml and .pre-commit-config.yaml say the same."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from workbench.environment import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [
    requirement
    for text in (*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra))
    if (requirement := Requirement(text)).name != PROJECT["name"]
]


@cache
def pins() -> dict[str, Version]:
    """Canonical name → version of constraints.txt, which holds nothing else."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    matches = [re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)", line) for line in lines]
    assert [line for line, match in zip(lines, matches, strict=True) if not match] == []
    return {canonicalize_name(match[1]): Version(match[2]) for match in matches if match}


def needed(
    name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]
) -> Iterator[tuple[str, Requirement]]:
    """What an installed distribution asks for under this Python, and what that asks for in turn."""
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    try:
        texts = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # an optional tool that is not installed here
        return
    for requirement in map(Requirement, texts):
        wanted = [{"extra": extra} for extra in (*extras, "")]
        if requirement.marker is None or any(map(requirement.marker.evaluate, wanted)):
            yield name, requirement
            yield from needed(canonicalize_name(requirement.name), frozenset(requirement.extras), seen)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_requirement_is_pinned_at_a_release_that_it_allows(requirement: Requirement):
    pin = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin), f"{requirement} against {pin}"


def test_what_the_requirements_need_in_turn_is_pinned_too():
    seen: set[tuple[str, frozenset[str]]] = set()
    faults = []
    for root in REQUIREMENTS:
        for asker, requirement in needed(canonicalize_name(root.name), frozenset(root.extras), seen):
            name = canonicalize_name(requirement.name)
            if re.match(r"nvidia-|cuda-|triton$", name):  # of PyTorch's CUDA build, which pins them itself
                continue
            if name not in pins() or not requirement.specifier.contains(pins()[name], prereleases=True):
                faults.append(f"{asker} needs {requirement}, the pin is {pins().get(name)}")
    assert faults == []
    assert len(seen) > 100


def test_the_pins_do_for_the_oldest_python_around():
    debian = Version("3.11.2")
    refused = []
    for found in metadata.distributions():
        wanted = SpecifierSet(found.metadata["Requires-Python"] or "")
        if pins().get(canonicalize_name(found.name)) == Version(found.version) and debian not in wanted:
            refused.append(f"{found.name} {found.version} asks for Python {wanted}")
    assert refused == [], "make constraints.txt anew under that Python: bash .ci/lock"


def test_no_package_is_pinned_twice():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == len(pins())


def test_conda_users_get_the_same():
    described = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = described["dependencies"]
    assert described["name"] == PROJECT["name"]
    python = next(text for text in conda if text.startswith("python="))
    assert (
        Version(python.removeprefix("python="))
        in Requirement(f"python{PROJECT['requires-python']}").specifier
    )
    assert "pip" in conda
    assert "--constraint constraints.txt" in pip["pip"]
    assert "--editable .[test]" in pip["pip"]
    others = [Requirement(text) for text in pip["pip"] if not text.startswith("--")]
    assert all(list(other.specifier) == [] for other in others), "pins belong into constraints.txt"
    pinned = [text for text in conda if text not in (python, "pip")]
    assert pinned == [], "packages belong into pyproject.toml"


def test_the_cpu_build_is_looked_for_in_one_place():
    from workbench.installation import CPU_TORCH

    for name in ("environment.yml", ".ci/lock"):
        assert CPU_TORCH in (ROOT / name).read_text()


def test_hooks_use_the_pinned_tools_and_fetch_no_repository():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {repository["repo"] for repository in hooks} == {"local"}
    wanted = [text for hook in hooks[0]["hooks"] for text in hook.get("additional_dependencies", [])]
    assert wanted
    for requirement in map(Requirement, wanted):
        assert f"=={pins()[canonicalize_name(requirement.name)]}" == str(requirement.specifier)


def test_one_lower_bound_holds_everywhere():
    from workbench.__main__ import OLDEST

    assert PROJECT["requires-python"] == f">={OLDEST[0]}.{OLDEST[1]}"


@pytest.mark.parametrize("name", ["run", "lock"])
def test_the_scripts_of_ci_are_bash_without_faults(name: str):
    checked = subprocess.run(["bash", "-n", ROOT / ".ci" / name], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_environment_of_these_tests_is_whole():
    from workbench.environment import missing_packages

    assert missing_packages(["test"]) == []
    assert sys.version_info[:2] >= (3, 11)
