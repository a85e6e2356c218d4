"""The flat files of the seed layout, as a view: one branch's rows of a kind as one CSV stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.layout import Kind
from gateway.monitoring.published import csv_of, published, sources_of
from gateway.names import Branch
from gateway.repositories.credentials import Credentials
from gateway.repositories.folder import Folder


def export(
    repository: str | Folder,
    branch: Branch,
    kind: Kind,
    environ: Mapping[str, str],
    credentials: Credentials | None = None,
) -> Iterator[bytes]:
    """The header once, then every row of the branch and of its side branch.

    In the order of the segments' times; rows of chunks written at once by two writers are not
    interleaved. Raises MissingRef if neither branch is in the repository, RemoteUnavailable.
    """
    with published(repository, environ, credentials) as found:
        yield from csv_of(kind, found.contents(branch, kind, sources_of(branch)))
