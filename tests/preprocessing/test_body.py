"""The body box and positions on analytic phantoms."""

import numpy as np
import torch

from textseg3d.plans import Intensity
from textseg3d.preprocessing import body_box, normalise, window_position


def phantom(shape=(40, 80, 100), spacing=(3.0, 3.0, 3.0)):
    _, y, x = np.indices(shape)
    hu = np.full(shape, -1000, np.int16)
    body = ((y - 40) / 24) ** 2 + ((x - 48) / 36) ** 2 < 1
    hu[body] = 40
    hu[((y - 40) / 10) ** 2 + ((x - 35) / 9) ** 2 < 1] = -850  # a lung does not open the box
    hu[:, 72, 10:90] = -300  # a thin table
    return hu, spacing


def test_box_of_an_ellipse_to_a_cell():
    hu, spacing = phantom()
    box = body_box(hu, spacing)
    np.testing.assert_allclose(box, [[0, 39], [17, 63], [13, 83]], atol=4)


def test_box_of_air_is_everything():
    assert body_box(np.full((5, 6, 7), -1000, np.int16), (3.0, 3.0, 3.0)).tolist() == [
        [0, 4],
        [0, 5],
        [0, 6],
    ]


def test_box_does_not_depend_on_dtype():
    hu, spacing = phantom()
    assert (body_box(hu, spacing) == body_box(hu.astype(np.float32), spacing)).all()


def test_mirrored_body_has_mirrored_position():
    hu, spacing = phantom()
    box, mirrored = body_box(hu, spacing), body_box(hu[:, :, ::-1], spacing)
    a = window_position(box, (0, 0, 0), hu.shape)[2]
    b = window_position(mirrored, (0, 0, 0), hu.shape)[2]
    np.testing.assert_allclose(a, -b[::-1], atol=0.12)  # to one 12 mm cell


def test_faces_of_the_box_are_plus_and_minus_one():
    box = np.array([[10.0, 19.0], [0.0, 9.0], [4.0, 4.0]])
    position = window_position(box, (10, -5, 4), (10, 20, 1))
    np.testing.assert_allclose(position[0], [-0.9, 0.9])  # voxel centres, half a voxel inside
    np.testing.assert_allclose(position[1], [(-5 - 4.5) / 5, (14 - 4.5) / 5])
    assert position[2].tolist() == [0.0, 0.0]


def test_windows_scheme_hand_computed():
    hu = torch.tensor([-2000.0, -1000.0, 0.0, 40.0, 240.0, 3000.0]).reshape(1, 1, 1, 6)
    wide, soft = normalise(hu, (Intensity(),))
    torch.testing.assert_close(wide.flatten(), torch.tensor([-1, -1, 0, 0.04, 0.24, 1]))
    torch.testing.assert_close(soft.flatten(), torch.tensor([-1, -1, -0.2, 0, 1, 1]))


def test_zscore_ignores_scale_and_offset():
    scan = torch.rand(1, 8, 8, 8) * 100
    scheme = (Intensity(scheme="zscore"),)
    a, b = normalise(scan, scheme), normalise(scan * 7 + 300, scheme)
    torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
