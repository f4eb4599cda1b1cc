"""Where work is done on a dataset, whatever sort of store it is in."""

from __future__ import annotations

import os

from precast.errors import UsageError
from precast.execution.bucketwork import BucketWork, cache_directory, state_name
from precast.execution.progress import Progress
from precast.execution.published.place import is_published
from precast.execution.workdir import BUILD_LEDGER, PartsOfDataset, WorkDirectory
from precast.storage import HttpStore, LocalStore, Store, open_store
from precast.storage.cloud_clients import missing_extra
from precast.storage.opening import PublicBucket

__all__ = ["build_ledger", "open_destination", "open_work"]


def open_destination(place: str | os.PathLike[str] | Store) -> Store:
    """Return the store at a place that is to be written.

    Raises
    ------
    UsageError
        If it can only be read, or is no address that precast knows.
    MissingExtraError
        If it is in a bucket, and the extra ``cloud`` is not installed.
    """
    store = open_store(place)
    if isinstance(store, PublicBucket):
        raise missing_extra(f"writing to {store.url}")
    if isinstance(store, HttpStore):
        raise UsageError(
            f"{store.url} can only be read",
            hint="write to a directory, or to the bucket behind it (s3://, gs://, az://)",
            where=store.url,
        )
    return store


def open_work(
    destination: Store,
    scratch: str | None = None,
    *,
    parts: PartsOfDataset | None = None,
    progress: Progress | None = None,
) -> WorkDirectory | BucketWork:
    """Return the work directory of a dataset on a disk, or what there is in its place for one in a bucket.

    Parts of a dataset that was published, on a disk too, become another generation of it.

    Parameters
    ----------
    destination
        From :func:`open_destination`.
    scratch
        Where scratch files go instead of beside the dataset, or instead of the user's cache directory.
    parts
        The parts of the dataset that are made, if it is not the whole.
    progress
        Told what is being sent.
    """
    if isinstance(destination, LocalStore) and (parts is None or not is_published(destination)):
        return WorkDirectory(destination.root, scratch, parts=parts)
    return BucketWork(destination, scratch, parts=parts, progress=progress)


def build_ledger(destination: Store) -> tuple[LocalStore, str]:
    """Return where ``build`` keeps what it has done, as a store and a key.

    That is beside the datasets of a directory, and in the user's cache directory for those that are in a bucket, where
    it does not lie among data for everybody.
    """
    if isinstance(destination, LocalStore):
        return LocalStore(destination.root), BUILD_LEDGER
    return LocalStore(cache_directory() / "build"), f"{state_name(destination)}.json"
