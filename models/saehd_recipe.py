"""What SAEHD's options mean: what holds in pretraining, and the optimizer with its schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.recipes import DETAIL_RATE, Recipe, detail_recipe, fast_detail_rate

if TYPE_CHECKING:
    from models.saehd_options import SaehdOptions


def in_force(options: SaehdOptions) -> SaehdOptions:
    """The options as they work now: pretraining shows all poses, mirrored too, and spares the refinements.

    The fast recipe needs persons who have a usual face, which the many of a pretraining together have not.

    DFL forgets one refinement: in its pretraining the code discriminator speaks, though it never learns.
    """
    values = {name: options.effective(name) for name in ("masked_training", "true_face_power")}
    if options.pretrain or options.dfl_compat:
        values["recipe"] = "dfl"
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


# What a rate above DFL's could make collapse: networks that learn against each other, and DFL's styles.
DELICATE = ("gan_power", "true_face_power", "face_style_power", "bg_style_power")


def saehd_recipe(options: SaehdOptions) -> Recipe:
    """The recipe of options; pure functions of the iteration and of them."""
    now, first_rate = in_force(options), None
    if now.recipe == "fast":
        delicate = any(getattr(now, name) for name in DELICATE)
        first_rate = DETAIL_RATE if delicate else fast_detail_rate(_width(now))
    return detail_recipe(
        "adabelief" if now.adabelief else "rmsprop",
        now.dfl_compat,
        now.lr_dropout != "n",
        now.clipgrad,
        first_rate,
    )


def _width(options: SaehdOptions) -> int:
    """Channels of the networks' widest maps; `ae_dims` counts twice, for the dense layers' sake."""
    return max(2 * options.ae_dims, 8 * options.d_dims, 8 * options.e_dims)
