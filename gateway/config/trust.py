"""`trust` in gateway.yaml: what of a branch may be loaded at all, and who must have signed it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.config.addresses import PathText
from gateway.config.mapping import Section
from gateway.config.quantities import BranchName
from gateway.names import Branch

FormatName = Literal["pickle", "skops", "onnx", "xgboost", "lightgbm", "code"]


@dataclass(frozen=True, slots=True)
class LoadRules:
    """What a worker may load: of these formats (None: all, and code), and of which .skops types."""

    formats: tuple[str, ...] | None = None
    skops_types: tuple[str, ...] = ()

    @property
    def code(self) -> bool:
        """Whether code of the branch may run, its packages' included."""
        return self.formats is None or "code" in self.formats


def _one_or_several(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _dotted(value: str) -> str:
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value) is None:
        raise ValueError("must be the whole name of a type, such as sklearn.tree._tree.Tree")
    return value


class TrustConfig(Section):
    """What must be true of a commit before anything of it is loaded."""

    signed_by: (
        Annotated[tuple[PathText, ...], BeforeValidator(_one_or_several), Field(min_length=1)]
        | None
    ) = Field(
        default=None,
        description="Whose signature the commit must bear that brought what is served: a file of"
        " allowed signers (ssh-keygen's), one of OpenPGP public keys, or a list of such files.",
    )
    formats: (
        Annotated[tuple[FormatName, ...], BeforeValidator(_listed), Field(min_length=1)] | None
    ) = Field(
        default=None,
        description="What is loaded: some of pickle, skops, onnx, xgboost, lightgbm, and code,"
        " which is src/serve.py and all else in src/. Left out: everything.",
    )
    skops_types: Annotated[
        tuple[Annotated[str, AfterValidator(_dotted)], ...], BeforeValidator(_listed)
    ] = Field(
        default=(),
        description="Types that a .skops file may hold besides those of scikit-learn that are"
        " plain data, by their whole names.",
    )
    branches: (
        Annotated[tuple[BranchName, ...], BeforeValidator(_listed), Field(min_length=1)] | None
    ) = Field(
        default=None,
        description="The branches that signed_by and formats are for. Left out: all.",
    )

    def holds_for(self, branch: Branch) -> bool:
        return self.branches is None or branch in self.branches

    def signers_of(self, branch: Branch) -> tuple[Path, ...] | None:
        """The files that say who may sign; None where nobody needs to."""
        return self.signed_by if self.holds_for(branch) else None

    def rules_of(self, branch: Branch) -> LoadRules:
        return LoadRules(self.formats if self.holds_for(branch) else None, self.skops_types)
