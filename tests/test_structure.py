"""The shape of the project: layers, environments, and what every module must say of itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from snakemake.cli import get_argument_parser
from yte import process_yaml  # type: ignore[import-untyped]

import weightsharing
from weightsharing import code
from weightsharing.code import code_hash, imports_of, path_of, targets_behind

SOURCE = ROOT / "src"
PACKAGE = "weightsharing"

# Bottom to top: a module imports only from its own layer or from layers before it. theory and
# sampling share a height and must not know of each other; what they share lies below.
LAYERS: list[set[str]] = [
    {"errors", "code", "origin", "strict_yaml", "terminal", "workplace"},
    {"model"},
    {"identity"},
    {"files"},
    {"given"},
    {"theory", "sampling"},
    {"measures"},
    {"library"},
    {"figures"},
    {"studies", "review"},
    {"plot", "config"},
    {"cli"},
    {"__main__", "weightsharing"},
]


def modules() -> list[str]:
    found = [".".join(p.relative_to(SOURCE).with_suffix("").parts) for p in SOURCE.rglob("*.py")]
    return sorted(name.removesuffix(".__init__") for name in found)


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def height(module: str) -> int:
    return next(index for index, layer in enumerate(LAYERS) if part(module) in layer)


@pytest.mark.parametrize("module", modules())
def test_imports_go_down_only(module: str) -> None:
    for imported in imports_of(module):
        assert height(imported) <= height(module), f"{module} imports {imported}"
        if height(imported) == height(module) and module != PACKAGE:
            assert part(imported) == part(module), f"{module} imports {imported}"


@pytest.mark.parametrize(("verb", "never"), [
    ("theory", "sampling"), ("transition", "sampling"), ("sample", "theory"),
    ("figure", "measures"), ("figure", "figures.claims"),
    ("sample", "measures"), ("sample", "figures"), ("theory", "figures"),
    ("sample", "config"), ("theory", "config"),
])  # fmt: skip
def test_a_verb_does_not_depend_on_what_must_not_rerun_it(verb: str, never: str) -> None:
    names = targets_behind(f"{PACKAGE}.cli:{verb}")
    assert names
    assert not [name for name in names if f"{name}.".startswith(f"{PACKAGE}.{never}.")]


def test_one_module_opens_results() -> None:
    """The others cannot forget the seal, the content or the run. A user's task has none of them."""
    readers = {
        module
        for module in modules()
        for node in ast.walk(ast.parse(path_of(module).read_text()))
        if isinstance(node, ast.Attribute | ast.alias)
        and re.fullmatch(
            r"(open|load)_(mf)?(dataset|dataarray|datatree).*|h5py|h5netcdf|netCDF4",
            node.attr if isinstance(node, ast.Attribute) else node.name,
        )
    }
    assert readers == {f"{PACKAGE}.files", f"{PACKAGE}.model.task_file"}


def test_the_public_names_load_when_they_are_used() -> None:
    """Also from the folder alone, and the example of the docstring gives figure 4's theory."""
    lines = (weightsharing.__doc__ or "").split("\n\n")[3].splitlines()
    program = "\n".join([
        "import sys", *(line.strip() for line in lines),
        "print(float(theory.order_parameter[0]), 'torch' in sys.modules)",
        "print(all(getattr(ws, name).__name__.split('.')[-1] == name for name in dir(ws)))",
        "assert not hasattr(ws, 'other')",
    ])  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(SOURCE)}, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    theory, names = done.stdout.splitlines()
    assert theory.split()[1] == "False"
    assert float(theory.split()[0]) > 0
    assert names == "True"


def test_theory_does_not_load_torch_and_nothing_knows_snakemake() -> None:
    for module in modules():
        text = path_of(module).read_text()
        roots = {
            (node.module or "").split(".")[0]
            if isinstance(node, ast.ImportFrom)
            else alias.name.split(".")[0]
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert "snakemake" not in roots, module
        if part(module) == "theory":
            assert "torch" not in roots, module
        # The package works without Triton, and all but one module without the fused backend.
        backends = f"{PACKAGE}.sampling.backends"
        fused, triton_steps = f"{backends}.fused", f"{backends}.fused.triton_steps"
        if "triton" in roots:
            assert module == triton_steps
        if triton_steps in imports_of(module):
            assert module == f"{fused}.steps"
        if any(name.startswith(fused) for name in imports_of(module)):
            assert module == backends or module.startswith(fused)


LOWEST = '"""Words."""\n\nFACTOR = 2.0\n\n\ndef double(x):\n    return FACTOR * x\n'
MIDDLE = "def late():\n    from weightsharing.lowest import double\n\n    return double\n"
TOP = """
from weightsharing import middle
from weightsharing.other import apart

LIMIT = 3

def used(x):
    return middle.late()(helper(x))

def helper(x, unused=None):
    apart = x
    return min(x, LIMIT)

def unused(x):
    return apart
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of four modules that stands in for this one."""
    folder = tmp_path / PACKAGE
    folder.mkdir()
    sources = {
        "__init__": "ANY = 1\n",
        "lowest": LOWEST,
        "middle": MIDDLE,
        "top": TOP,
        "other": "apart = 1\n",
    }
    for name, text in sources.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    return folder


def hashed(target: str) -> str:
    for function in (code_hash, imports_of, code._module, code._tree, code._text):
        function.cache_clear()
    return code_hash(f"{PACKAGE}.{target}")


@pytest.mark.parametrize(("module", "before", "after", "changed"), [
    ("lowest", '"""Words."""', '"""Other words."""', set()),
    ("lowest", "return FACTOR", "# Why.\n    return FACTOR", set()),
    ("lowest", "def double(x):", 'def double(x):\n    """A docstring where there was none."""', set()),
    ("lowest", "FACTOR * x", "(FACTOR\n        * x)", set()),
    ("lowest", "2.0", "3.0", {"top", "top:used"}),
    ("middle", "return double", "return double or 1", {"top", "top:used"}),
    ("top", "LIMIT = 3", "LIMIT = 4", {"top", "top:used", "top:helper"}),
    ("top", "min(x, LIMIT)", "max(x, LIMIT)", {"top", "top:used", "top:helper"}),
    ("top", "return apart", "return 2 * apart", {"top"}),
    ("other", "1", "2", {"top"}),
    ("__init__", "ANY = 1", "ANY = 2", set()),
])  # fmt: skip
def test_the_code_hash_follows_behaviour_and_nothing_else(
    package: Path, module: str, before: str, after: str, changed: set[str]
) -> None:
    targets = ("top", "top:used", "top:helper")
    old = {target: hashed(target) for target in targets}
    path = package / f"{module}.py"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    assert {target for target in targets if hashed(target) != old[target]} == changed & set(targets)


def test_the_code_hash_refuses_what_it_cannot_follow(package: Path) -> None:
    with pytest.raises(KeyError, match="absent"):
        hashed("top:absent")
    (package / "middle.py").write_text("from . import lowest\n")
    with pytest.raises(ValueError, match="absolute"):
        hashed("top")


def profiles() -> dict[str, dict[str, Any]]:
    """The profiles by name, as Snakemake reads them."""
    return {
        path.parent.name: process_yaml(path.read_text(), require_use_yte=True)
        for path in (ROOT / "profiles").glob("*/config.yaml")
    }


@pytest.mark.parametrize("name", ["default", "gpu", "slurm"])
def test_profiles_name_rules_and_options_that_exist(name: str) -> None:
    profile = profiles()[name]
    text = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^rule (\w+):", text, re.MULTILINE))
    for key in ("set-resources", "set-threads", "groups"):
        assert set(profile.get(key, {})) <= rules, key
    options = {word for action in get_argument_parser()._actions for word in action.option_strings}
    # Options of the plugin are known to Snakemake where it is installed; make test-slurm uses them.
    named = {f"--{key}" for key in profile if not key.startswith("slurm-")}
    assert named <= options


def test_only_chains_take_a_gpu_and_the_page_says_what_jobs_ask_for() -> None:
    found = profiles()
    for name in ("gpu", "slurm"):
        resources = found[name]["set-resources"]
        assert [rule for rule, asked in resources.items() if "gpu" in asked] == ["sample"]
    # Without a limit, all chains would be on the one GPU at a time.
    assert found["gpu"]["resources"] == {"gpu": 1}
    # What is the same in all profiles does not change with the machine.
    for key in ("rerun-incomplete", "printshellcmds", "show-failed-logs"):
        assert all(profile[key] is True for profile in found.values())

    slurm, page = found["slurm"], (ROOT / "docs/cluster.md").read_text()
    first = {
        rule: {key: str(value).removesuffix(" * attempt") for key, value in asked.items()}
        for rule, asked in [
            ("default", slurm["default-resources"]), *slurm["set-resources"].items()
        ]
    }  # fmt: skip
    default, sample = first["default"], first["sample"]
    assert f"| {default['runtime']} min, {default['mem_mb']} MB |" in page
    asked = f"{sample['runtime']} + {default['runtime']} min, {sample['mem_mb']} MB"
    assert f"| {asked}, {sample['gpu']} GPU |" in page


def test_readme_and_docs_name_files_that_exist() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_no_printed_command_gives_a_target_to_the_option_for_files() -> None:
    """Snakemake reads every word after --configfile as another file, so targets come first."""
    text = "\n".join(
        path.read_text()
        for pattern in (
            "*.md",
            "docs/**/*.md",
            "Makefile",
            "profiles/**/*.yaml",
            "workflow/**/*.*",
            "src/**/*.py",
        )
        for path in ROOT.glob(pattern)
    ).replace("$(PRESET_FILE)", "--configfile preset.yaml")
    commands = re.findall(r"snakemake (.*?--configfile.*?)(?:`|\n)", text)
    assert len(commands) > 10
    for command in commands:
        assert not command.startswith("-") or re.search("--configfile .* -- ", command), command


def test_the_website_has_all_pages() -> None:
    def leaves(part: Any) -> Iterator[str]:
        if isinstance(part, str):
            yield part
        else:
            for one in part if isinstance(part, list) else part.values():
                yield from leaves(one)

    docs = ROOT / "docs"
    listed = set(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    pages = [*docs.rglob("*.md"), *(docs / "tutorials").glob("*.py")]
    # Its first page is README.md.
    assert listed == {str(page.relative_to(docs)) for page in pages} | {"index.md"}


def test_sections_that_docstrings_cite_exist() -> None:
    """As in "THEORY 5, 10": the website links them."""
    sections = set(re.findall(r"^## (\d+)\.", (ROOT / "docs/theory.md").read_text(), re.M))
    cited = {
        number
        for path in SOURCE.rglob("*.py")
        for numbers in re.findall(r"THEORY ((?:\d+)(?:, \d+)*)", path.read_text())
        for number in numbers.split(", ")
    }
    assert len(cited) > 5
    assert cited <= sections


def test_every_fault_has_a_test_that_exists() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"^def (test_\w+)", tests, re.MULTILINE))
    tables = re.findall(
        r"^\|.*\| Test \|\n\|.*\n((?:\|.*\n)+)", (ROOT / "docs/reliability.md").read_text(), re.M
    )
    rows = [row for table in tables for row in table.splitlines()]
    assert len(tables) == 2
    assert len(rows) > 40
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= defined, row


def test_no_pickle_anywhere() -> None:
    rules = Path(ROOT / "workflow").rglob("*.smk")
    for path in [*SOURCE.rglob("*.py"), *Path(ROOT / "workflow").rglob("*.py"), *rules]:
        assert not re.search(r"\bpickle\b|torch\.(save|load)\(", path.read_text()), path
