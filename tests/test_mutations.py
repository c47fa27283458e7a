"""A slice of tests/mutations: wrong programs turn rows of the scorecard red, and the right one none."""

from __future__ import annotations

import mutating
import pytest
from mutating import MUTATIONS, Mutation, Study


@pytest.fixture(scope="module")
def study() -> Study:
    """A DNN with a weak and an RNN with a strong signal, by the exact sampler."""
    return Study(
        (mutating.ROOT / "config.yaml", mutating.STUDY),
        ("fig3/dnn-weak-exact", "fig3/rnn-strong-exact"),
    )


def test_the_right_program_has_no_red_row(study: Study) -> None:
    rows = study.rows(Mutation(""))
    assert not mutating.red(rows)
    assert not mutating.doubted(rows)


@pytest.mark.parametrize(("name", "row"), [
    ("1/N", "3b-size-exact"), ("labels", "3-equilibrium-exact"),
])  # fmt: skip
def test_a_wrong_program_has_red_rows(study: Study, name: str, row: str) -> None:
    assert row in mutating.red(study.rows(MUTATIONS[name]))
