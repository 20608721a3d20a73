"""Weights of pretrained networks: what there is, where it lies, how it is fetched and read."""

from __future__ import annotations

from facelib.weights.download import DownloadError
from facelib.weights.registry import LICENCE, URL_VARIABLE, WEIGHTS, WeightFile, weight_file
from facelib.weights.store import (
    FOLDER_VARIABLE,
    available,
    ensure,
    fetch,
    further_folder,
    import_file,
    load,
    where,
)

__all__ = [
    "DownloadError",
    "FOLDER_VARIABLE",
    "LICENCE",
    "URL_VARIABLE",
    "WEIGHTS",
    "WeightFile",
    "available",
    "ensure",
    "fetch",
    "further_folder",
    "import_file",
    "load",
    "weight_file",
    "where",
]
