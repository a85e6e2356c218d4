"""Which imports are worth making ahead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.names import Branch
from gateway.workers.imports import Imports, Known, saving_most
from gateway.workers.launch import Launch

SKLEARN = frozenset(f"sklearn.{n}" for n in range(100))
XGBOOST = frozenset(f"xgboost.{n}" for n in range(10))
TORCH = frozenset(f"torch.{n}" for n in range(12))
LIGHT = frozenset(f"numpy.{n}" for n in range(10))
NOTHING: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("branches", "best"),
    [
        ([SKLEARN], SKLEARN),
        ([NOTHING], NOTHING),
        ([SKLEARN, SKLEARN | XGBOOST], SKLEARN),
        ([SKLEARN | TORCH, SKLEARN | XGBOOST], SKLEARN),
        ([SKLEARN | LIGHT, SKLEARN | LIGHT | XGBOOST, LIGHT], SKLEARN | LIGHT),
        ([XGBOOST, TORCH, NOTHING], TORCH),
    ],
)
def test_what_most_branches_have_in_common_is_imported_ahead(
    branches: list[frozenset[str]], best: frozenset[str]
) -> None:
    assert saving_most(branches) == best
    assert saving_most(reversed(branches)) == best


@given(st.lists(st.frozensets(st.sampled_from("abcdefgh")), min_size=1))
def test_some_branch_imports_all_of_it(branches: list[frozenset[str]]) -> None:
    best = saving_most(branches)
    assert any(best <= names for names in branches)


def test_the_order_of_the_imports_is_kept_and_what_is_broken_is_left_out() -> None:
    known, launch = Known(), Launch()
    modules = ["b", "a", "c", "c.d", "cc"]
    assert known.learn(Branch("prod"), Imports.of(launch, modules))
    assert not known.learn(Branch("prod"), Imports.of(launch, modules))
    assert [wish.modules for wish in known.wishes()] == [("b", "a", "c", "c.d", "cc")]
    known.avoid(["c"])
    assert [wish.modules for wish in known.wishes()] == [("b", "a", "cc")]
    known.forget(Branch("prod"))
    assert known.wishes() == []
