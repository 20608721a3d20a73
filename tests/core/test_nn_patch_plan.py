from __future__ import annotations

import pytest

from core.errors import UsageError
from core.nn.patch_plan import check_patch_size, fitting_patch_size, patch_strides, shrinkage

# Last patch size of each plan as DFL builds it (section 5.1 of the reference).
PLANS = (
    "5:2 9:22 13:212 17:222 21:2122 25:2212 29:21212 33:2222 37:21222 41:22122 45:212122 49:22212 "
    "53:212212 57:221212 61:2121212 65:22222 69:212222 73:221222 77:2121222 81:222122 85:2122122 "
    "89:2212122 93:21212122 97:222212 101:2122212 105:2212212 109:21212212 113:2221212 117:21221212 "
    "121:22121212 125:212121212 129:222222"
)


def test_plans_are_dfls_for_every_patch_size():
    first = 3
    for entry in PLANS.split():
        last, digits = entry.split(":")
        for patch in range(first, int(last) + 1):
            assert patch_strides(patch) == tuple(map(int, digits)), patch
        first = int(last) + 1
    assert {patch_strides(patch) for patch in range(480, 514)} == {(2,) * 8}
    assert {patch_strides(patch) for patch in range(608, 641)} == {(2, 2, 2, 2, 2, 2, 1, 2, 2)}


@pytest.mark.parametrize(
    "resolution, wished, fitting", [(128, 16, 16), (496, 62, 61), (528, 66, 61), (640, 80, 80)]
)
def test_a_patch_size_that_cannot_be_built_gives_way_to_the_nearest(resolution, wished, fitting):
    assert fitting_patch_size(resolution, wished) == fitting
    assert resolution % shrinkage(fitting) == 0
    check_patch_size(resolution, fitting)


def test_a_patch_size_that_does_not_fit_names_one_that_does():
    with pytest.raises(UsageError, match="multiple of 32, not 496; 61 is"):
        check_patch_size(496, 62)
