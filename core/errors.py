"""Errors that a user can act on; `main.py` prints each as one line and exits with its code."""

from __future__ import annotations


class SwapError(Exception):
    """Root of the errors that are the input's fault, not ours."""

    exit_code = 1


class UsageError(SwapError):
    """A flag or an option has a value that cannot be meant."""

    exit_code = 2


class SampleError(SwapError):
    """One frame, face or faceset is unusable."""


class AlignmentError(SampleError):
    """Landmarks do not determine an alignment."""


class FileFormatError(SampleError):
    """A file is not what its name says, or was cut short."""


class CheckpointError(SwapError):
    """A saved model cannot be read or written."""


class VideoError(SwapError):
    """A video cannot be read or written."""
