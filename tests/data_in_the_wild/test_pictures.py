"""Pictures of every kind become the colours that people see in them, or are refused."""

from pathlib import Path

import pytest
from PIL import Image

from tests.data_in_the_wild.cases import Case, check


def plain(name: str, mode: str, colour, **options):
    """Makes one picture of 8x8 in one colour, a file of this name."""

    def make(folder: Path) -> Path:
        Image.new(mode, (8, 8), colour).save(folder / name, **options)
        return folder

    return make


CASES = [
    Case("RGB in a PNG", plain("a.png", "RGB", (200, 100, 50)), taken={None: 1}, colours=[(200, 100, 50)]),
    Case("grey of 16 bits", plain("a.png", "I;16", 51_400), taken={None: 1}, colours=[(200,)]),
    Case("a picture called .txt", plain("a.txt", "RGB", 0, format="png"), refused="holds no images"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pictures(case, tmp_path, capsys):
    check(case, tmp_path, capsys)
