"""What SAEHD's options mean: what holds in pretraining, and the optimizer with its schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.recipes import Recipe, detail_recipe

if TYPE_CHECKING:
    from models.saehd_options import SaehdOptions


def in_force(options: SaehdOptions) -> SaehdOptions:
    """The options as they work now: pretraining shows all poses, mirrored too, and spares the refinements.

    DFL forgets one refinement: in its pretraining the code discriminator speaks, though it never learns.
    """
    values = {name: options.effective(name) for name in ("masked_training", "true_face_power")}
    if options.pretrain:
        values |= {
            "random_src_flip": True,
            "random_dst_flip": True,
            "uniform_yaw": True,
            "random_warp": False,
            "random_hsv_power": 0.0,
            "ct_mode": "none",
            "lr_dropout": "n",
            "gan_power": 0.0,
            "face_style_power": 0.0,
            "bg_style_power": 0.0,
        }
        if not options.dfl_compat:
            values["true_face_power"] = 0.0
    return options.changed(**values)


def saehd_recipe(options: SaehdOptions) -> Recipe:
    """The recipe of options; pure functions of the iteration and of them."""
    now = in_force(options)
    return detail_recipe(
        "adabelief" if now.adabelief else "rmsprop", now.dfl_compat, now.lr_dropout != "n", now.clipgrad
    )
