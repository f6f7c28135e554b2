"""The house rules: who may import whom, what must not stand in a file, and that documents name real things."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pipelines
import schemas
from pipelines.intake.rules import ALWAYS_ERRORS, RULES
from tests.conftest import ROOT

WITH_DAGSTER = {"components", "definitions.py"}


def imports(path: Path) -> set[str]:
    """Top-level names of all modules a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_packages_are_those_of_this_checkout() -> None:
    assert Path(pipelines.__file__).is_relative_to(ROOT)
    assert Path(schemas.__file__).is_relative_to(ROOT)


@pytest.mark.parametrize("path", files("schemas"), ids=lambda p: p.name)
def test_schemas_import_neither_dagster_nor_pipelines(path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0] in ("dagster", "pipelines", "duckdb")]


@pytest.mark.parametrize("path", files("pipelines"), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_rooms_do_not_import_dagster(path: Path) -> None:
    inside = path.relative_to(ROOT / "pipelines").parts[0]
    uses_dagster = any(name.split(".")[0] == "dagster" for name in imports(path))
    if inside in WITH_DAGSTER or path.name == "nightly.py":  # the run path of the command line
        return
    assert not uses_dagster


@pytest.mark.parametrize("path", files("pipelines/release"), ids=lambda p: p.name)
def test_release_room_cannot_reach_internal_data(path: Path) -> None:
    forbidden = (
        "pipelines.history",
        "pipelines.intake",
        "pipelines.rollup",
        "pipelines.night",
        "pipelines.publishable",
        "pipelines.ledger",
        "pipelines.published",
        "pipelines.clearance",
        "pipelines.disclosure",
    )
    assert not [name for name in imports(path) if name.startswith(forbidden)]


@pytest.mark.parametrize("path", files("pipelines/audit"), ids=lambda p: p.name)
def test_audit_knows_nothing_of_what_the_protector_knows(path: Path) -> None:
    """It shares the solver and the language of cells, not the relations, rules, reasons or true values."""
    if path.name == "command.py":  # brings audit and ledger together
        return
    shared = {f"pipelines.disclosure.{name}" for name in ("system", "solver", "attack")}
    inside = {name for name in imports(path) if name.startswith("pipelines.disclosure")} - shared
    inside |= {
        name for name in imports(path) if name.startswith(("pipelines.ledger", "pipelines.history", "pipelines.roll"))
    }
    assert not inside


OWN_SESSIONS = {
    "session.py",
    "intake/account.py",  # one hash function, one thread
}
"""Modules that open DuckDB themselves; everywhere else `pipelines.session` sees to memory and spilled values."""


@pytest.mark.parametrize("path", files("pipelines"), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_sessions_of_duckdb_keep_to_the_memory_limit(path: Path) -> None:
    if path.relative_to(ROOT / "pipelines").as_posix() in OWN_SESSIONS:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "duckdb"
    }
    taken = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "duckdb" for a in n.names}
    assert not (used | taken) & {"connect", "sql", "execute", "query", "read_parquet", "read_csv", "from_arrow"}


def test_assets_hold_no_python() -> None:
    assert not list((ROOT / "assets").rglob("*.py"))


def test_gate_needs_only_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import pipelines.gate; "
        "print(sorted(m.split('.')[0] for m in set(sys.modules) - before))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(run.stdout))
    assert not loaded - set(sys.stdlib_module_names) - {"pipelines"}


def test_lock_files_name_no_address() -> None:
    for path in ROOT.glob("requirements*.lock"):
        assert "://" not in path.read_text(encoding="utf-8"), path.name


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for dependency in tomllib.loads(text)["project"]["dependencies"]:
        line = next(line for line in text.splitlines() if f'"{dependency}"' in line)
        assert "#" in line, dependency


def test_readme_commands_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^|`)make ([a-z]+)", readme, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"README names make {target}"
    known = subprocess.run(
        [Path(sys.executable).with_name("sozialraum"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    for command in set(re.findall(r"bin/sozialraum ([a-z]+)", readme)):
        assert command in known, f"README names sozialraum {command}"


def test_every_module_and_public_name_is_documented() -> None:
    for path in files("pipelines") + files("schemas"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_data_dictionary_page_is_what_the_yaml_says() -> None:
    run = subprocess.run([sys.executable, "scripts/data_dictionary.py", "--check"], cwd=ROOT, check=False)
    assert run.returncode == 0, "run: python scripts/data_dictionary.py"


PAGES = ["README.md", *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/**/*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_links_between_documents_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / page).read_text(encoding="utf-8")):
        assert ((ROOT / page).parent / target).exists(), target


def test_page_of_rules_names_every_rule_with_its_severity() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+)(\*?) \|", (ROOT / "docs/rules.md").read_text(encoding="utf-8"), re.M)
    assert rows == [(r.id, r.severity, "*" if r.id in ALWAYS_ERRORS else "") for r in RULES.values()]
