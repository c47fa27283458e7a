"""The scorecard: claims hold for networks that obey the theory and fail for others."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from weightsharing.errors import FileError
from weightsharing.figures.claims import KINDS as COMPARED
from weightsharing.figures.claims import Claim, Finding, Statement
from weightsharing.figures.fig2 import claims as figure2
from weightsharing.figures.fig3 import claims as figure3
from weightsharing.figures.fig4 import claims as figure4
from weightsharing.figures.fig5 import claims as figure5
from weightsharing.figures.fig5.generalisation import (
    each_error_agrees,
    errors_agree,
    rnn_is_ahead,
    rnn_is_not_ahead,
)
from weightsharing.figures.results import NoDataError, Result, Results, Scan, read_results
from weightsharing.figures.scorecard import page, scorecard, table
from weightsharing.figures.statistics import FALSE_ALARM, compare, median, z_limit
from weightsharing.figures.tables import read_table, write_table
from weightsharing.files import join, write_dataset
from weightsharing.measures.compare import compare as measure
from weightsharing.model.architecture import KINDS, Architecture, Kind
from weightsharing.model.axes import (
    DRAW_AXES,
    KERNEL_AXES,
    OUTPUT_AXES,
    Array,
    kernel_axes,
    kernel_matrix,
)
from weightsharing.model.tasks import AnyTask, EndpointTask, SequenceTask, SinusoidTask
from weightsharing.sampling import SamplerSettings
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.run import Run
from weightsharing.theory.action import hessian
from weightsharing.theory.law import OrderParameterLaw
from weightsharing.theory.outliers import weight_eigenvalues
from weightsharing.theory.problem import linear_problem
from weightsharing.theory.scan import Transition
from weightsharing.theory.solve import solve
from weightsharing.theory.symmetric import unpack

KINETIC = KineticSettings(
    method="kinetic", width=400, draws=50, chains=4, start="prior", spectra=5, step_size=0.02,
    friction=2.0, burn_in=1.0, duration=10.0, precision="float32",
)  # fmt: skip
EXACT = ExactSettings(
    method="exact", width=400, draws=50, chains=4, start="prior", spectra=5, warm_up=10, thinning=1,
    leapfrog_steps=4,
)  # fmt: skip
SINUSOID = SinusoidTask()


def make_run(
    name: str = "fig2/run", *, kind: Kind = "rnn", steps: int = 4, task: AnyTask = SINUSOID,
    sampler: SamplerSettings = EXACT, **settings: Any,
) -> Run:  # fmt: skip
    """A run with default parameters. settings: of the sampler."""
    return Run(
        id=name, seed=1, device="cpu", kappa=0.1, architecture=Architecture(kind=kind, steps=steps),
        task=task, sampler=sampler.model_copy(update=settings),
    )  # fmt: skip


def result(
    variables: Mapping[str, Any] | None = None, *, run: Run | None = None, faults: str = "",
    **attributes: Any,
) -> Result:  # fmt: skip
    """A result of made-up measures."""
    verdict = {"converged": int(not faults), "faults": faults}
    return Result.of(run or make_run(), xr.Dataset(variables, attrs=verdict | attributes))


def finding(**fields: Any) -> Finding:
    defaults: dict[str, Any] = {"quantity": "q", "measured": 1.0, "criterion": "c", "holds": True}
    return Finding(**defaults | fields)


def judge(*runs: Result, also: tuple[str, ...] = (), **fields: Any) -> Claim:
    """The claim "2a-x", which rests on these runs."""
    return Statement("2a-x", "a < b", lambda *_: finding(**fields), also=also).judge(*runs)


def verdicts(rows: list[Claim], verdict: str) -> set[str]:
    return {row.id for row in rows if row.verdict == verdict}


# --- results ----------------------------------------------------------------------------------------


def test_results_are_read_once_and_typed(tmp_path: Path, scan: Scan) -> None:
    sets = ((1, 3), (2,))
    family = make_run("fig5/rnn", task=SequenceTask(period=4.0, sets=sets))
    members = [
        sequence("rnn", times, 0.1, steps=4).data.assign_attrs(faults=faults, converged=0)
        for times, faults in zip(sets, ("", "order_parameter, loss"), strict=True)
    ]
    members[0].attrs["converged"] = 1
    write_dataset(join(members, family.member_names), tmp_path / "rnn.nc", "measures", family)
    write_dataset(scan.data, tmp_path / "scan.nc", "transition", scan.transition)
    expected: dict[str, Run | Transition] = {family.id: family, scan.transition.id: scan.transition}
    paths = [tmp_path / "rnn.nc", tmp_path / "scan.nc"]
    results = read_results(paths, expected, complete=True)
    first, second = results.runs
    assert (first.name, second.name) == ("fig5/rnn 1-3", "fig5/rnn 2")
    assert (first.set_name, first.supervised_times) == ("1-3", (1, 3))
    assert (first.run, second.run) == family.members
    assert (first.converged, first.verdict) == (True, "yes")
    assert (second.converged, second.verdict) == (False, "no: order_parameter, loss")
    assert second.faults == ("order_parameter", "loss")
    task = first.run.tasks[0]
    for name in ("inputs", "targets", "supervised"):
        np.testing.assert_array_equal(getattr(first.task, name), getattr(task, name))
    assert results.scans[0].transition == scan.transition
    assert results.of_figure("5") == Results(results.runs)
    assert results.of_figure("4") == Results(scans=results.scans)
    assert results.select(kind="rnn", role="exact") == results.runs
    assert results.select(role="trained") == results.select(kind="dnn") == ()

    write_dataset(members[0].drop_attrs(), tmp_path / "old.nc", "measures", family)
    with pytest.raises(FileError, match=r"old\.nc: written by another version"):
        read_results([tmp_path / "old.nc"], expected)
    write_dataset(members[0], tmp_path / "task.nc", "task", family)
    with pytest.raises(FileError, match="holds task, not measures or transition"):
        read_results([tmp_path / "task.nc"], expected)


def test_results_are_those_of_the_configuration_each_once(tmp_path: Path, scan: Scan) -> None:
    run, other = make_run("fig4/a"), make_run("fig4/a", width=7)
    measures = xr.Dataset(attrs={"converged": 1, "faults": ""})
    for name in ("a", "again"):
        write_dataset(measures, tmp_path / f"{name}.nc", "measures", run)
    write_dataset(scan.data, tmp_path / "scan.nc", "transition", scan.transition)
    paths = [tmp_path / "a.nc", tmp_path / "scan.nc"]
    ids: dict[str, Run | Transition] = {"fig4/a": run, scan.transition.id: scan.transition}
    assert read_results(paths, ids, complete=True).runs[0].run == run
    with pytest.raises(FileError, match=r"a\.nc: measures of another run, with sampler.width = "):
        read_results(paths, ids | {"fig4/a": other})
    with pytest.raises(FileError, match=r"fig4/a, which the configuration does not have"):
        read_results(paths, {scan.transition.id: scan.transition})
    changed = scan.transition.model_copy(update={"kappa": 0.3})
    with pytest.raises(FileError, match=r"scan\.nc: transition of another run, with kappa"):
        read_results(paths, ids | {scan.transition.id: changed})
    with pytest.raises(FileError, match=r"again\.nc: results of fig4/a, as .*a\.nc has them"):
        read_results([*paths, tmp_path / "again.nc"], ids)
    with pytest.raises(FileError, match=r"--results: those of fig4/b and 1 more are missing"):
        read_results(paths, ids | {"fig4/b": run, "fig4/c": run}, complete=True)
    assert len(read_results(paths[:1], ids).runs) == 1


# --- verdicts and statistics ------------------------------------------------------------------------


@pytest.mark.parametrize("holds", [True, False])
def test_claims_that_rest_on_a_run_that_did_not_converge_have_no_other_verdict(holds: bool) -> None:
    good, bad = result(), result(faults="order_parameter, loss")
    row = judge(good, bad, holds=holds)
    assert row.verdict == "not converged"
    assert "1 of 2 runs did not converge: fig2/run (order parameter, loss)" in row.explanation
    assert "phases" not in row.explanation
    assert judge(good, holds=holds).verdict == ("pass" if holds else "fail")
    mixed = result({"phases": 3}, faults="order_parameter")
    row = judge(good, mixed, explanation="Known.")
    assert row.explanation.startswith(
        "1 of 2 runs did not converge: fig2/run (order parameter). At N = 400 "
    )
    assert "fig2/run has 3 phases" in row.explanation
    assert row.explanation.endswith("Known.")
    assert judge(result({"phases": 3})).explanation == ""
    assert judge(result(coherence_converged=0), also=("coherence",)).verdict == "not converged"
    assert judge(result(coherence_converged=1), also=("coherence",)).verdict == "pass"


def test_a_claim_without_its_data_is_a_row() -> None:
    def missing() -> Finding:
        raise NoDataError("nothing there")

    row = Statement("3e-x", "claim", missing).judge()
    assert (row.figure, row.panel, row.verdict) == ("3", "e", "no data")
    assert row.explanation == "No data: nothing there."
    rows = [Statement("3e-x", "claim", lambda run: finding()).judge(run) for run in (None, ())]
    assert {row.explanation for row in rows} == {"No data: no run of this network by this sampler."}


def test_without_any_file_every_row_is_there_without_data() -> None:
    rows = scorecard(Results())
    assert {row.verdict for row in rows} == {"no data"}
    assert [row.figure for row in rows] == sorted(row.figure for row in rows)
    assert len({row.id for row in rows}) == len(rows) > 80
    text = page(rows)
    for kind, words in COMPARED.items():
        count = sum(row.kind == kind for row in rows)
        assert count > 0
        assert f"{words[0].upper()}{words[1:]}: {count} no data, of {count} claims." in text


def test_largest_of_many_z_scores_exceeds_its_limit_as_often_as_stated(
    generator: np.random.Generator,
) -> None:
    """Bonferroni: not more often than FALSE_ALARM, and for independent values nearly as often."""
    trials, count = 100_000, 20
    z = np.abs(generator.standard_normal((trials, count))).max(axis=1)
    alarms = int((z > z_limit(count)).sum())
    # Poisson with a mean of 100: four standard deviations.
    assert abs(alarms - trials * FALSE_ALARM) < 40


def test_comparison_names_the_value_furthest_away() -> None:
    test = compare(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.1, 2.0]), 0.1)
    assert (test.index, test.count) == (2, 3)
    assert (test.measured, test.expected, test.error) == (3.0, 2.0, 0.1)
    assert test.z == pytest.approx(10.0)
    assert not test.holds
    missing = compare(np.array([0.0, 1.0]), 0.0, 0.0)
    assert missing.index == 1
    assert not missing.holds
    # Four chains give few degrees of freedom: the limit is wider.
    assert z_limit(freedom=3) > 3 * z_limit()


def test_median_has_the_error_of_the_values_in_the_middle() -> None:
    assert median(np.array([3.0, 1.0, 2.0]), np.array([9.0, 9.0, 0.5])) == (2.0, 0.5)
    value, error = median(np.array([1.0, 2.0, 4.0, 9.0]), np.array([9.0, 0.3, 0.4, 9.0]))
    assert value == 3.0
    assert error == pytest.approx(0.25)


@pytest.mark.parametrize(("identity", "figure", "panel"), [
    ("4a-x", "4", "a"), ("2-output", "2", ""), ("10b-x", "10", "b"), ("S1c-x", "S1", "c"),
])  # fmt: skip
def test_a_claim_names_its_figure_and_panel(identity: str, figure: str, panel: str) -> None:
    row = Statement(identity, "claim", lambda: finding()).judge()
    assert (row.figure, row.panel) == (figure, panel)


def test_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [judge(theory=0.25), judge(holds=False, explanation="Because.")]
    path, frame = tmp_path / "scorecard.tsv", table(rows)
    write_table(frame, path)
    assert read_table(path, list(frame.columns)).to_dict() == frame.to_dict()
    assert frame["theory"].to_list() == ["0.25", ""]
    (tmp_path / "other.tsv").write_text("a\tb\n")
    with pytest.raises(FileError, match="not a table with the columns verdict"):
        read_table(tmp_path / "other.tsv", ["verdict"])


def test_page_names_verdicts_in_words_and_escapes_text() -> None:
    text = page([judge(holds=False)])
    assert "fail" in text
    assert "a &lt; b" in text
    assert "http" not in text


# --- figure 2 ---------------------------------------------------------------------------------------


def aligned(widths: list[int], distances: list[float], error: float) -> list[Result]:
    """Networks whose 1 - CKA is given. error: relative to it."""
    return [
        result(
            {"alignment": 1.0 - distance, "alignment_standard_error": error * distance},
            run=make_run(width=width),
            alignment_converged=1,
        )
        for width, distance in zip(widths, distances, strict=True)
    ]


@pytest.mark.parametrize(("exponent", "holds"), [(-1.0, True), (-0.5, False), (-1.3, False)])
def test_exponent_of_the_alignment(exponent: float, holds: bool) -> None:
    """The exponent b of 1 - CKA = 0.5 N^b (1 + 2/N); a power law alone would not fit."""
    widths = [16, 32, 64, 128, 256, 512]
    runs = aligned(widths, [0.5 * n**exponent * (1.0 + 2.0 / n) for n in widths], 0.01)
    fit = figure2.alignment_exponent(runs)
    assert fit.measured == pytest.approx(exponent, abs=0.01)
    assert fit.holds is holds
    with pytest.raises(NoDataError, match="4 widths"):
        figure2.alignment_exponent(runs[:3])


@pytest.mark.parametrize(("distances", "error", "rises"), [
    ([0.03, 0.015, 0.008], 0.02, True), ([0.03, 0.015, 0.008, 0.012], 0.02, False),
    ([0.03, 0.029], 0.3, False),
])  # fmt: skip
def test_alignment_that_falls_with_the_width_or_stays_fails(
    distances: list[float], error: float, rises: bool
) -> None:
    runs = aligned([16, 32, 64, 128][: len(distances)], distances, error)
    assert figure2.alignment_rises(runs).holds is rises


def with_kernel(shift: float, sampler: SamplerSettings) -> Result:
    """Phi scatters about the theory's by its standard error. shift: of Phi^(1,2)."""
    theory = np.eye(4)[None, None] + 0.1
    noise = 0.01 * np.random.default_rng(3 + (sampler is KINETIC)).standard_normal((4, 4))
    measured = theory + np.triu(noise) + np.triu(noise, 1).T
    measured[0, 0, [1, 2], [2, 1]] += shift
    values = {"": measured, "_theory": theory, "_standard_error": np.full_like(theory, 0.01)}
    variables = {f"activation_kernel{end}": (KERNEL_AXES, kernel) for end, kernel in values.items()}
    return result(variables, run=make_run(sampler=sampler))


def test_kernels_are_compared_entry_by_entry() -> None:
    good, bad = with_kernel(0.0, EXACT), with_kernel(0.07, KINETIC)
    assert figure2.kernel_agrees(good).holds
    assert figure2.autocorrelation_agrees(good).holds
    assert figure2.kernels_agree([(with_kernel(0.0, KINETIC), good)]).holds
    failed = figure2.kernel_agrees(bad)
    assert not failed.holds
    assert "t = 1, t' = 2" in failed.explanation
    # (1, 2) is on the anti-diagonal of four steps.
    assert not figure2.autocorrelation_agrees(bad).holds
    assert not figure2.autocorrelations_agree((bad, good)).holds
    assert "t = 1, t' = 2" in figure2.kernels_agree([(bad, good)]).explanation


# --- figure 3 ---------------------------------------------------------------------------------------

WEAK, STRONG = 0.5, 2.0


def endpoint(kind: Kind, size: float, sampler: SamplerSettings) -> Run:
    name = f"fig3/{kind}-{size}-{sampler.method}"
    return make_run(name, kind=kind, task=EndpointTask(labels=(size, -size)), sampler=sampler)


@cache
def theory_of(kind: Kind, size: float) -> xr.Dataset:
    run = endpoint(kind, size, EXACT)
    return solve(run.tasks[0], run.architecture, run.kappa)


@cache
def finite_width_kernel(kind: Kind, size: float) -> np.ndarray:
    """The kernel of the theory with its 1/N term."""
    theory = theory_of(kind, size)
    kernel = theory["kernel"][0] + theory["kernel_correction"] / EXACT.width
    return np.asarray(kernel.to_numpy())


@cache
def fluctuation_root(kind: Kind, size: float) -> np.ndarray:
    """R with <R z (R z)^T> = S''^-1 / N, the leading covariance of the kernel, for normal deviates z."""
    run = endpoint(kind, size, EXACT)
    problem = linear_problem(run.tasks[0], run.architecture, run.kappa)
    kernel = kernel_matrix(theory_of(kind, size)["kernel"][0].to_numpy())
    curvature = hessian(problem, problem.basis.T @ kernel @ problem.basis)
    root = np.linalg.inv(np.linalg.cholesky(EXACT.width * curvature))
    parts = [kernel_axes(problem.basis @ x @ problem.basis.T, 2, 4) for x in unpack(root)]
    return np.stack(parts, axis=-1)


@cache
def strong_outlier() -> float:
    """Where the theory with its 1/N term has the outlier of the strong RNN."""
    return float(np.abs(weight_eigenvalues(finite_width_kernel("rnn", STRONG), "rnn")).max())


@cache
def network(
    kind: Kind, size: float, sampler: SamplerSettings, bend: float = 0.0, outlier: float = 0.0
) -> Result:
    """Measures of made-up networks whose kernels fluctuate around the theory with its 1/N term.

    bend: added to H^(0,2) of the first pattern. outlier: modulus of one eigenvalue of each spectrum.
    """
    run = endpoint(kind, size, sampler)
    mean = finite_width_kernel(kind, size).copy()
    mean[0, 0, [0, 2], [2, 0]] += bend
    generator = np.random.default_rng(int(10 * size) + (kind == "dnn") + 100 * (sampler is EXACT))
    noise = 0.01 * generator.standard_normal((sampler.chains, sampler.draws, 2, 2, 4, 4))
    root = fluctuation_root(kind, size)
    deviates = generator.standard_normal((sampler.chains, sampler.draws, root.shape[-1]))
    kernel = mean + np.einsum("pqtsk,cdk->cdpqts", root, deviates)
    # The labels' outputs are drawn from their law given the kernel, as the loss temperature needs.
    last, labels = kernel[..., -1, -1], run.tasks[0].targets[:, -1]
    gain = last @ np.linalg.inv(run.kappa * np.eye(2) + last)
    root = np.linalg.cholesky((last - gain @ last) / sampler.width)
    output = noise[:, :, 0, :, 0].copy()
    deviates = generator.standard_normal((sampler.chains, sampler.draws, 2))
    output[..., -1] = gain @ labels + np.einsum("cdpq,cdq->cdp", root, deviates)
    matrices = run.architecture.weight_matrices
    eigenvalue = np.zeros((sampler.chains, 5, matrices, sampler.width, 2))
    eigenvalue[..., 0, 0] = outlier + 0.01 * generator.standard_normal(
        (sampler.chains, 5, matrices)
    )
    samples = xr.Dataset(
        {
            "kernel": (("chain", "draw", *KERNEL_AXES), kernel),
            "output": (("chain", "draw", *OUTPUT_AXES), output),
            "loss": (("chain", "draw"), noise[:, :, 0, 0, 0, 0]),
            "eigenvalue": (("chain", "spectrum", "matrix", "unit", "part"), eigenvalue),
            "spectrum_draw": ("spectrum", np.arange(1, 6) * 10 - 1),
        },
        coords={"time": np.arange(4), "output_time": np.arange(1, 5)},
        attrs={"stiffness": 0.1, "device": "cpu"},
    )
    return Result.of(run, measure(run, run.tasks[0], theory_of(kind, size), samples))


def cells(cell: str = "", **change: float) -> Results:
    """All cells by both samplers; change: to the trained networks of one cell, such as dnn_weak."""
    runs = []
    for kind in KINDS:
        for name, size in (("weak", WEAK), ("strong", STRONG)):
            right = {"outlier": strong_outlier()} if (kind, name) == ("rnn", "strong") else {}
            changed = right | change if cell == f"{kind}_{name}" else right
            runs += [
                network(kind, size, KINETIC, **changed), network(kind, size, EXACT, **right)
            ]  # fmt: skip
    return Results(tuple(runs))


def test_networks_that_obey_the_theory_pass_figure_3() -> None:
    rows = figure3.claims(cells())
    # Two inputs with labels of size 2, not four of size 1.
    assert verdicts(rows, "fail") == {"3a-inputs", "3a-labels"}
    assert len(verdicts(rows, "pass")) == len(rows) - 2


@pytest.mark.parametrize(
    ("cell", "change", "failing"),
    [
        (
            "dnn_weak", {"bend": 0.05},
            {"3b-kernel-trained", "3b-coherence-trained", "3b-samplers", "3-identical-trained"},
        ),
        ("rnn_weak", {"outlier": 1.5}, {"3d-disc-trained"}),
        ("rnn_strong", {"outlier": 0.0}, {"3e-outlier-trained", "3e-position-trained"}),
        ("rnn_strong", {"outlier": 1.6}, {"3e-position-trained"}),
    ],
)  # fmt: skip
def test_networks_that_do_not_fail_where_they_differ(
    cell: str, change: dict[str, float], failing: set[str]
) -> None:
    rows = figure3.claims(cells(cell, **change))
    assert verdicts(rows, "fail") == failing | {"3a-inputs", "3a-labels"}


def test_task_of_figure_3() -> None:
    task = EndpointTask(labels=(1.0, 1.0, -1.0, -1.0)).make(4)
    assert figure3.inputs_are_orthogonal(task).holds
    assert figure3.labels_have_unit_size(task).holds
    assert figure3.labels_are_at_the_end(task).holds
    assert not figure3.labels_have_unit_size(EndpointTask(labels=(0.5, -0.5)).make(4)).holds
    assert not figure3.labels_are_at_the_end(SINUSOID.make(4)).holds


# --- figure 4 ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scan() -> Scan:
    """A made-up transition of second order at lambda = 2: F = (2 - lambda) m^2 / 2 + m^4 / 4."""
    ratios = (0.6, 1.0, 2.0)
    transition = Transition(
        id="fig4/depth4", architecture=Architecture(kind="rnn", steps=4), kappa=0.1,
        largest_signal=6.0, points=5, landau_ratios=ratios, width=400,
    )  # fmt: skip
    m, grid, signal = np.linspace(0.01, 2, 50), np.linspace(0, 3, 61), np.geomspace(0.2, 6, 41)
    action = np.outer(1.0 - np.array(ratios), grid**2) + grid**4 / 4.0
    data = xr.Dataset(
        {
            "ordered_order_parameter": ("branch", m),
            "ordered_signal": ("branch", 2.0 + m**2),
            "ordered_curvature": ("branch", m**2),
            "landau_action": (("landau", "landau_order_parameter"), action),
            "finite_width_mean": ("signal", np.sqrt(signal)),
            "finite_width_deviation": ("signal", np.full(41, 0.3)),
        },
        coords={"landau": list(ratios), "landau_order_parameter": grid, "signal": signal},
        attrs={"critical_signal": 2.0, "steps": 4, "order": "second", "critical_exponent": 0.5},
    )
    return Scan(transition, data)


def test_theory_of_figure_4(scan: Scan) -> None:
    assert verdicts(figure4.claims(Results(scans=(scan,))), "pass") == {
        "4a-critical-4", "4a-order-4", "4a-exponent-4", "4b-below", "4b-at", "4b-above"
    }  # fmt: skip


def test_another_theory_of_figure_4_fails(scan: Scan) -> None:
    data = scan.data.copy(deep=True)
    data.attrs["critical_exponent"] = 0.51
    data.attrs["critical_signal"] *= 1.001
    # Replace all curves by the first: none is flat at the transition, and none has two wells.
    data["landau_action"][1:] = data["landau_action"][0]
    rows = figure4.claims(Results(scans=(Scan(scan.transition, data),)))
    assert verdicts(rows, "fail") == {
        "4a-critical-4", "4a-order-4", "4a-exponent-4", "4b-at", "4b-above"
    }  # fmt: skip
    assert not figure4.order_is(scan, False).holds


def points(
    shift: float, stretch: float = 1.0, sampler: SamplerSettings = KINETIC, **settings: Any
) -> list[Result]:
    """Networks whose |m| is sqrt(lambda), ``shift`` standard errors higher at one lambda."""
    return [
        result(
            {
                "order_parameter": signal**0.5
                + 0.02 * ((-1.0) ** index + (shift if index == 2 else 0.0)),
                "order_parameter_standard_error": 0.02,
                "order_parameter_deviation": 0.3 * stretch,
                "order_parameter_effective_size": 225.0,
            },
            run=make_run("fig4/run", sampler=sampler, **settings),
            signal=signal,
        )
        for index, signal in enumerate((0.5, 1.0, 2.0, 4.0))
    ]


@pytest.mark.parametrize(("shift", "holds"), [(0.0, True), (6.0, False)])
def test_order_parameters_are_held_against_the_law(scan: Scan, shift: float, holds: bool) -> None:
    runs = points(shift)
    chi_square = figure4.means_agree(scan, runs)
    assert chi_square.holds is holds
    assert chi_square.measured == pytest.approx(3.0 + (1.0 + shift) ** 2, rel=0.02)
    assert figure4.each_mean_agrees(scan, runs).holds is holds
    pairs = list(zip(runs, points(0.0, sampler=EXACT), strict=True))
    assert figure4.samplers_agree(pairs).measured == pytest.approx(0.5 * shift**2)
    with pytest.raises(NoDataError, match="N = 400 only"):
        figure4.means_agree(scan, points(shift, width=64))


@pytest.mark.parametrize(("stretch", "holds"), [(1.05, True), (1.3, False)])
def test_error_bars_are_held_against_the_law(scan: Scan, stretch: float, holds: bool) -> None:
    assert figure4.fluctuations_agree(scan, points(0.0, stretch)).holds is holds


# --- figure 5 ---------------------------------------------------------------------------------------

ALL = (1, 2, 3, 4, 5, 6)


def sequence(
    kind: Kind, times: tuple[int, ...], error: float, *, off: float = 0.0, steps: int = 6,
    faults: str = "", theory: float | None = None, **variables: Any,
) -> Result:  # fmt: skip
    """Measures of one set: RNNs have the targets everywhere, DNNs 0 where not supervised.

    off: deviation of the outputs from that. theory: its error, ``error`` if None.
    """
    task = SequenceTask(period=float(steps), sets=(times,))
    family = make_run(f"fig5/{kind}", kind=kind, steps=steps, task=task, sampler=KINETIC)
    (run,) = family.members
    learned = run.tasks[0]
    output = np.where(learned.supervised | (kind == "rnn"), learned.targets, 0.0)
    theory = error if theory is None else theory
    values = {
        "input": (("pattern", "time", "feature"), learned.inputs),
        "target": (OUTPUT_AXES, learned.targets),
        "supervised": (OUTPUT_AXES, learned.supervised.astype(np.int8)),
        "output": (OUTPUT_AXES, output + off),
        "output_theory": (OUTPUT_AXES, output),
        "output_standard_error": (OUTPUT_AXES, np.full_like(output, 0.01)),
        "generalisation_error": error,
        "generalisation_error_standard_error": 0.1 * theory,
        "generalisation_error_theory": theory,
        "generalisation_error_finite_width": 1.1 * theory,
        "output_time": np.arange(1, steps + 1),
    }
    return result(values | variables, run=run, faults=faults)


def test_advantage_of_rnns() -> None:
    sets = ((1, 2, 3), (2, 4, 5), (1, 2, 4, 6), (2, 3, 4, 5, 6))
    dnn = [sequence("dnn", chosen, 0.1) for chosen in sets]
    rnn = [sequence("rnn", chosen, 0.01) for chosen in sets]
    ratio = rnn_is_ahead(dnn, rnn)
    assert ratio.holds
    assert ratio.measured == pytest.approx(0.1)
    assert not rnn_is_not_ahead(dnn, rnn).holds
    assert not rnn_is_ahead(dnn, [*rnn[:-1], sequence("rnn", sets[-1], 0.05)]).holds
    assert rnn_is_not_ahead(dnn, dnn).holds


def test_outputs_at_unsupervised_steps() -> None:
    times = (1, 2, 4)
    vanish, are_met = figure5.unsupervised_outputs_vanish, figure5.unsupervised_outputs_are_met
    assert vanish([sequence("dnn", times, 0.1)]).holds
    assert not vanish([sequence("dnn", times, 0.1, off=0.1)]).holds
    assert not vanish([sequence("rnn", times, 0.1)]).holds
    assert are_met([sequence("rnn", times, 0.1, off=0.1)]).holds
    missed = are_met([sequence("dnn", times, 0.1)])
    assert missed.measured == pytest.approx(1.0)
    assert not missed.holds


def test_share_of_sets_is_held_against_chance() -> None:
    errors = [0.1 + 0.001 * k for k in range(20)]
    good = [sequence("dnn", (1, 2), error) for error in errors]
    assert errors_agree(good).measured == 1.0
    assert each_error_agrees(good).holds
    bad = [sequence("dnn", (1, 2), 1.7 * error, theory=error) for error in errors[:6]]
    # Six of twenty beyond two standard errors have a probability of 2e-4.
    assert not errors_agree([*bad, *good[6:]]).holds
    assert not each_error_agrees([*bad, *good[6:]]).holds
    words = {"kind": "dnn", "network": "DNN", "role": "trained", "sampler": "trained networks"}
    row = errors_agree.judge([*good[1:], sequence("dnn", (1, 2), 0.1, faults="loss")], **words)
    assert row.verdict == "not converged"
    assert "fig5/dnn 1-2" in row.explanation


def test_task_and_teacher_of_figure_5() -> None:
    tasks = [SinusoidTask(period=6.0, supervised=times).make(6) for times in ((2, 3), None)]
    assert figure5.label_kernel_is_sinusoid(tasks, 6.0).holds
    assert figure5.teacher_rotates(6.0).measured == pytest.approx(60.0)
    assert figure5.teacher_makes_targets(tasks, 6.0).holds
    other = [SinusoidTask(period=5.0).make(6)]
    assert not figure5.label_kernel_is_sinusoid(other, 6.0).holds
    assert not figure5.teacher_makes_targets(other, 6.0).holds
    rows = figure5.claims(Results((sequence("rnn", ALL, 0.1),)))
    assert {"5a-labels", "5a-teacher", "5a-output"} <= verdicts(rows, "pass")


@pytest.mark.parametrize("learned", [True, False])
def test_angle_of_the_outliers(learned: bool) -> None:
    # H^(tt') = cos(angle (t - t')) + a little: M turns by the angle.
    lag = np.subtract.outer(np.arange(6), np.arange(6))
    kernel = np.cos(np.radians(60.0) * lag) + 1e-9 * np.eye(6)
    angles = np.radians(60.0 + np.array([[0.1], [-0.2], [0.3], [-0.1]]))
    values = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    angle = figure5.angle_agrees(
        sequence(
            "rnn", ALL, 0.1,
            kernel_theory=(KERNEL_AXES, kernel[None, None]),
            largest_eigenvalue=(("chain", "spectrum", "part"), values[..., :: 1 if learned else -1]),
        )
    )  # fmt: skip
    assert angle.theory == pytest.approx(60.0, abs=1e-3)
    assert angle.holds is learned
