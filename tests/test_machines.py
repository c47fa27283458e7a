"""What users' machines do: variables of the environment, profiles, places that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from snakemake.cli import parse_args
from snakemake.common import get_appdirs

from weightsharing.terminal import progress
from weightsharing.workplace import search_first, use_temporary_folder


def python(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the package and the benchmarks, and these variables."""
    paths = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    return subprocess.run(
        [sys.executable, *map(str, words)], env=os.environ | paths | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


# --- Snakemake's profiles ----------------------------------------------------------------------------


def options_of(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    """Snakemake's options for these words in the root of the repository, by its own parser."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["snakemake", *words])
    return parse_args(None)[1]


@pytest.mark.parametrize(("own", "words", "cores"), [
    (None, [], "all"),
    ("cores: 1", ["--profile", "OWN"], 1), ("cores: 1", ["--profile=OWN"], 1),
    ("cores: 1", [], 1),  # by SNAKEMAKE_PROFILE
    ("cores: 1", ["--profile", "OWN", "--cores", "3"], 3),
    ("keep-going: true", ["--profile", "OWN"], None),  # Snakemake then asks for --cores
])  # fmt: skip
def test_the_cores_of_a_users_own_profile_hold(
    own: str | None, words: list[str], cores: int | str | None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    (tmp_path / "config.yaml").write_text(own or "")
    if own and not words:
        monkeypatch.setenv("SNAKEMAKE_PROFILE", str(tmp_path))
    words = [word.replace("OWN", str(tmp_path)) for word in words]
    options = options_of(monkeypatch, *words)
    assert options.cores == (len(os.sched_getaffinity(0)) if cores == "all" else cores)  # type: ignore[attr-defined]
    assert options.rerun_incomplete  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_all_cores_are_those_that_the_system_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert options_of(monkeypatch).cores == 1  # type: ignore[attr-defined]
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("writable", [True, False])
def test_snakemake_has_a_cache_that_can_be_written(
    writable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    cache = str(tmp_path / ("new" if writable else "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    options_of(monkeypatch)
    assert os.environ["XDG_CACHE_HOME"] == (cache if writable else str(ROOT / ".snakemake/cache"))
    assert get_appdirs().user_cache_dir.startswith(os.environ["XDG_CACHE_HOME"])


# --- variables of the environment --------------------------------------------------------------------


def test_a_folder_is_searched_first_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/modules::src:")
    for _ in range(2):
        search_first("PYTHONPATH", "src")
        assert os.environ["PYTHONPATH"] == "src:/modules"
    monkeypatch.delenv("PYTHONPATH")
    search_first("PYTHONPATH", "src")
    assert os.environ["PYTHONPATH"] == "src"


def test_a_temporary_folder_that_is_none_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", "/dev/null")
    use_temporary_folder()
    assert os.access(os.environ["TMPDIR"], os.W_OK)
    assert Path(os.environ["TMPDIR"]).is_dir()


def test_docstrings_are_needed() -> None:
    done = python("-OO", "-m", "weightsharing", "check", ROOT / "config.yaml")
    assert done.returncode == 1
    assert (
        done.stderr == "python -OO, PYTHONOPTIMIZE=2: ArviZ needs its docstrings; use -O at most\n"
    )


def test_files_are_utf_8_in_any_locale(tmp_path: Path) -> None:
    folder = tmp_path / "\u00fcber"
    folder.mkdir()
    text = (ROOT / "config.yaml").read_text("utf-8") + "# caf\u00e9\n"
    (folder / "config.yaml").write_text(text, "utf-8")
    locale = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = python("-m", "weightsharing", "check", folder / "config.yaml", **locale)
    assert (done.returncode, done.stderr) == (0, "")


def test_variables_of_a_notebook_or_a_cluster_change_nothing(tmp_path: Path) -> None:
    """Drawing begins with Matplotlib, which refuses an unknown backend."""
    variables = {
        "MPLBACKEND": "module://nowhere", "MPLCONFIGDIR": "/dev/null", "HOME": "/dev/null",
        "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "weird",
    }  # fmt: skip
    words = ["--config", ROOT / "config.yaml", "--results", "none.nc"]
    done = python("-m", "weightsharing", "figure", "fig4", tmp_path / "a.pdf", *words, **variables)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "none.nc: no such file"


# --- words of commands -------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "status", "says"), [
    (["figures/fig4.png"], 0, "snakemake figures/fig4.png "),
    (["all", "PRESET=smoke"], 0, "snakemake all --configfile workflow/presets/smoke.yaml\n"),
    (["figures/fig4.pdf", "PRESET=papr"], 2, "PRESET=papr: must be one of laptop "),
])  # fmt: skip
def test_make_takes_each_kind_of_figure_and_names_the_presets(
    words: list[str], status: int, says: str
) -> None:
    done = subprocess.run(
        ["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert says in done.stdout + done.stderr
    if status:
        assert all(path.stem in done.stderr for path in ROOT.glob("workflow/presets/*.yaml"))


@pytest.mark.parametrize(("seconds", "steps", "rate"), [
    (100.0, 21, ", 0.2/s, 395 s left"), (1.0, 51, ", 50/s, 1 s left"), (0.0, 1, ""),
])  # fmt: skip
def test_the_rate_of_a_slow_chain_is_not_0_and_a_short_one_has_none(
    seconds: float, steps: int, rate: str,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    times = iter([0.0, 0.0, seconds])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    monkeypatch.setattr("weightsharing.terminal.LINE_EVERY", -1.0)
    with caplog.at_level("INFO"):
        show = progress("fig4/x")
        for step in (1, steps):
            show(step, 100)
    assert caplog.messages[-1] == f"fig4/x: step {steps} of 100{rate}"
