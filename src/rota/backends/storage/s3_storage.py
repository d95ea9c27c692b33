"""Blobs and tables of one platform in an S3-compatible store: below PREFIX/blobs and PREFIX/tables."""

from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.s3_blobs import S3Blobs
from rota.backends.storage.s3_bucket import open_bucket
from rota.backends.storage.s3_tables import S3Tables


def open_storage(url: str) -> tuple[S3Blobs, DeltaTables]:
    """Both stores of an address s3://BUCKET/PREFIX; makes no request, so a store that is away is noticed at its first use."""
    bucket = open_bucket(url)
    return S3Blobs(bucket.within("blobs")), DeltaTables(S3Tables(bucket.within("tables")))
