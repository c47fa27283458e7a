"""Wrong programs, each with its red rows: `make test-mutations` prints the table of validation.md."""

from __future__ import annotations

from collections.abc import Iterator

import mutating
import pytest
from fuzzing import show
from mutating import MUTATIONS, Mutation, Study


@pytest.fixture(scope="module")
def study() -> Study:
    """All figures."""
    return Study((mutating.ROOT / "config.yaml", mutating.STUDY))


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Lines of the table, printed at the end."""
    lines = [
        "| wrong program | red rows | rows without a verdict | red, for example |",
        "|---|---|---|---|",
    ]
    yield lines
    show(request, "\n".join(lines))


def test_the_right_program_has_no_red_row(study: Study, table: list[str]) -> None:
    rows = study.rows(Mutation(""))
    table.append(mutating.line("none", rows))
    assert not mutating.red(rows)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_program_has_red_rows(study: Study, table: list[str], name: str) -> None:
    rows = study.rows(MUTATIONS[name])
    table.append(mutating.line(MUTATIONS[name].words, rows))
    assert mutating.red(rows)
