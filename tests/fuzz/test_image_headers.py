"""Headers of damaged pictures are read or refused."""

import pytest

from ragdist.modalities.image.header import shape_of
from tests.conftest import encoded, picture
from tests.fuzz.damage import damaged


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_headers(rounds, kind):
    originals = [encoded(picture(seed), kind) for seed in range(3)]
    for random in rounds(300):
        try:
            channels, height, width = shape_of(damaged(random, originals))
        except ValueError:
            continue
        assert channels in (1, 3)
        assert min(height, width) > 0
