"""Picture processing that knows nothing of faces."""

from core.imagelib.color_transfer import color_transfer  # the function hides the module of the same name

__all__ = ["color_transfer"]
