"""One tiny model and one small phantom for the tests of inference."""

import numpy as np
import pytest

from tests.model_factory import make_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def segmenter(model_folder):
    from textseg3d import Segmenter

    return Segmenter(model_folder, "cpu")


@pytest.fixture(scope="session")
def phantom():
    """int16 [30, 52, 61] at (5, 2.5, 2) mm: a body, an organ on each side, noise; no symmetry."""
    rng = np.random.default_rng(3)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (30, 52, 61)), indexing="ij")
    hu = np.where((y / 0.8) ** 2 + (x / 0.9) ** 2 < 1, 40.0, -1000.0)
    hu[(x - 0.4) ** 2 + y**2 + (z / 2) ** 2 < 0.07] = -800
    hu[(x + 0.5) ** 2 + (y - 0.1) ** 2 + (z - 0.3) ** 2 < 0.09] = 150
    return (hu + rng.normal(0, 15, hu.shape)).round().astype(np.int16)


SPACING = (5.0, 2.5, 2.0)
