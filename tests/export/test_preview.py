"""The picture: patient's right at the left, colours where the masks are."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from textseg3d.export.preview import COLOURS, best_planes, display_plane, write_preview


def coloured(picture, colour):
    """Pixels of a mask's opaque outline."""
    return np.abs(picture[..., :3] - np.array(to_rgb(colour))).max(axis=-1) < 0.02


def test_sides_and_levels(predict_by_hand, masks, tmp_path):
    # Canonical x grows to the patient's left, z upwards.
    write_preview(tmp_path / "p.png", predict_by_hand({k: masks[k] for k in list(masks)[:2]}))
    picture = imread(tmp_path / "p.png")
    height, width = picture.shape[:2]
    picture[int(height * 0.84) :] = 0  # the legend
    axial, coronal, sagittal = (picture[:, i * width // 3 : (i + 1) * width // 3] for i in range(3))
    for panel in (axial, coronal):
        columns = [np.argwhere(coloured(panel, c))[:, 1] for c in COLOURS[:2]]
        shown = [c.mean() for c in columns if c.size]
        if len(shown) == 2:
            assert shown[0] > shown[1]  # "left box" right of "right box" in the picture
    left, right = (np.argwhere(coloured(axial, c)) for c in COLOURS[:2])
    assert left.size
    assert right.size
    assert left[:, 0].mean() < right[:, 0].mean()  # smaller y: anterior, further up
    assert coloured(sagittal, COLOURS[0]).any() or coloured(sagittal, COLOURS[1]).any()


def test_superior_is_up():
    plane = np.zeros((5, 4))
    plane[4] = 1  # highest z
    assert display_plane(plane, 1)[0].all()
    assert display_plane(plane, 2)[0].all()
    assert np.array_equal(display_plane(plane, 0), plane)


def test_planes_cut_most_masks(predict_by_hand, masks):
    z, y, x = best_planes(list(predict_by_hand(masks).values()), (50, 40, 30))
    # All three are cut at no z; two at 12, 13 (left, wide) and 15 to 19 (left, right).
    assert z in (12, 13, 15, 16, 17, 18, 19)
    assert masks["left box"][:, y].any()
    assert masks["left box"][:, :, x].any()


def test_without_any_mask(predict_by_hand, tmp_path):
    write_preview(tmp_path / "p.png", predict_by_hand({"uterus $x_1$": "unknown"}))
    assert imread(tmp_path / "p.png").shape[2] == 4
