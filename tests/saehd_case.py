"""The SAEHD model and batch whose full loss section 14 of the model reference gives."""

from __future__ import annotations

import numpy as np

from tests import dfl_vectors as vectors

EVERYTHING = {
    "resolution": 64,
    "archi": "df-ud",
    "ae_dims": 32,
    "e_dims": 16,
    "d_dims": 16,
    "d_mask_dims": 16,
    "face_type": "wf",
    "batch_size": 2,
    "eyes_mouth_prio": True,
    "blur_out_mask": True,
    "gan_power": 0.1,
    "gan_patch_size": 16,
    "gan_dims": 16,
    "true_face_power": 0.01,
    "face_style_power": 0.5,
    "bg_style_power": 1.0,
    "precision": "float32",
    "xla": "off",
}


# No term beside those that are always there.
QUIET = {
    "eyes_mouth_prio": False,
    "blur_out_mask": False,
    "gan_power": 0.0,
    "true_face_power": 0.0,
    "face_style_power": 0.0,
    "bg_style_power": 0.0,
}


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """A mask of section 14, (64, 64, 1)."""
    rows, columns = np.mgrid[:64, :64]
    distance = np.sqrt((columns - x) ** 2 + (rows - y) ** 2)
    return np.clip((radius - distance) / 6 + 0.5, 0, 1).astype(np.float32)[..., None]


def reference_batch() -> dict[str, np.ndarray]:
    """The batch of section 14's full loss."""
    waves = vectors.waves(2, 64)
    batch = {}
    for side, pure, seeds in (("src", waves, (1, 2)), ("dst", waves[::-1], (3, 4))):
        noise = [vectors.uniform((2, 64, 64, 3), seed) for seed in seeds]
        batch[f"warped_{side}"] = 0.7 * pure + 0.3 * noise[0]
        batch[f"target_{side}"] = 0.8 * pure + 0.2 * noise[1]
    discs = {
        "target_src_mask": ((32, 30, 20), (30, 34, 22)),
        "target_dst_mask": ((31, 32, 21), (34, 31, 19)),
        "target_src_eyes": ((28, 26, 6), (27, 28, 6)),
        "target_dst_eyes": ((33, 27, 5), (36, 29, 7)),
    }
    batch |= {name: np.stack([disc(*place) for place in places]) for name, places in discs.items()}
    return {name: array.astype(np.float32) for name, array in batch.items()}
