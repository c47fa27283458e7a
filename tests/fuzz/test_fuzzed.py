"""Thousands of bad inputs and tens of kills, each with its outcome counted: `make test-fuzz`.

The last lines are the table of docs/reliability.md. A bad outcome is named with its seed and a folder
that holds the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fuzzing
import pytest
from fuzzing import Study, Tally, Workshop

CONFIGURATIONS, DAMAGES, USER_FILES, FORGERIES = 70, 60, 20, 10
COMMANDS = (
    "theory", "sample", "measure", "figure", "scorecard", "runs", "caption",
)  # fmt: skip


@pytest.fixture(scope="module")
def table(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tally]:
    """Counts of all tests, printed when the last one has ended."""
    tally = Tally(tmp_path_factory.mktemp("kept"))
    yield tally
    fuzzing.show(request, tally.table())


@pytest.fixture
def tally(table: Tally) -> Tally:
    """Counts, without what went wrong in other tests."""
    table.bad.clear()
    return table


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The small study and all commands."""
    folder = tmp_path_factory.mktemp("workshop")
    study = fuzzing.make_study(folder / "small", fuzzing.small_study())
    return Workshop(study, tmp_path_factory.mktemp("scratch"), COMMANDS)


@pytest.mark.parametrize("kind", fuzzing.CONFIGURATIONS)
def test_configurations(kind: str, tmp_path: Path, tally: Tally) -> None:
    for seed in range(CONFIGURATIONS):
        fuzzing.fuzz_configuration(kind, seed, tmp_path, tally)
    tally.check()


@pytest.mark.parametrize("kind", fuzzing.DAMAGES)
def test_damaged_files(kind: str, workshop: Workshop, tally: Tally) -> None:
    for seed in range(DAMAGES):
        fuzzing.damage(kind, seed, workshop, tally)
    tally.check()


@pytest.mark.parametrize("kind", fuzzing.DAMAGES)
def test_damaged_tasks_of_users(kind: str, workshop: Workshop, tally: Tally) -> None:
    for seed in range(USER_FILES):
        fuzzing.damage_user_file(kind, seed, workshop, tally)
    tally.check()


@pytest.mark.parametrize("kind", fuzzing.FORGERIES)
def test_forged_files(kind: str, workshop: Workshop, tally: Tally) -> None:
    for seed in range(FORGERIES):
        fuzzing.forge(kind, seed, workshop, tally)
    tally.check()


def test_swapped_files(
    workshop: Workshop, tally: Tally, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, small = tmp_path_factory.mktemp("others"), fuzzing.small_study()
    others: dict[str, Study] = {
        kind: fuzzing.make_study(folder / kind, fuzzing.laid_over(small, change))
        for kind, change in fuzzing.OTHERS.items()
    }
    foreign = fuzzing.make_study(folder / "foreign", small, only=fuzzing.FOREIGN)
    for swap in fuzzing.swaps(workshop, others, foreign):
        fuzzing.swap(*swap, workshop, tally)
    tally.check()
