"""Surface scores against spheres, scikit-image, DeepMind's tool and MONAI."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.evaluation.phantoms import box, sphere
from textseg3d.errors import GeometryError
from textseg3d.evaluation.surface import _area_table, bounding_box, surface_distances
from textseg3d.evaluation.surface_table import triangle_vectors


def test_area_of_a_sphere_is_four_pi_r_squared():
    mask = sphere((50, 50, 50), (25, 25, 25), 18.0)
    area = surface_distances(mask, mask, (1.0, 1.0, 1.0)).truth_area_mm2.sum()
    # Marching cubes on a binary sphere overestimates the area by about 9 %.
    assert area == pytest.approx(4 * np.pi * 18.0**2, rel=0.1)


def test_area_of_a_large_box_is_its_faces():
    mask = box((40, 40, 40), (5, 5, 5), (30, 30, 30))
    area = surface_distances(mask, mask, (2.0, 1.0, 0.5)).truth_area_mm2.sum()
    faces = 2 * (30 * 30) * (2.0 * 1.0 + 2.0 * 0.5 + 1.0 * 0.5)
    assert area == pytest.approx(faces, rel=0.06)


def test_concentric_spheres_have_the_difference_of_radii_everywhere():
    inner = sphere((60, 60, 60), (30, 30, 30), 15.0)
    outer = sphere((60, 60, 60), (30, 30, 30), 19.0)
    distances = surface_distances(inner, outer, (1.0, 1.0, 1.0))
    assert distances.hausdorff_mm(95) == pytest.approx(4.0, abs=0.6)
    assert distances.hausdorff_mm(50) == pytest.approx(4.0, abs=0.4)
    assert distances.surface_dice(2.4) == 0.0
    assert distances.surface_dice(5.2) == 1.0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shifted_slab_has_the_shift_in_mm(axis):
    spacing = (3.0, 1.5, 1.0)
    truth = np.zeros((30, 30, 30), dtype=bool)
    truth[10:20, 10:20, 10:20] = True
    shifted = np.roll(truth, 2, axis=axis)
    assert surface_distances(truth, shifted, spacing).hausdorff_mm(100) == pytest.approx(
        2 * spacing[axis]
    )


def test_nsd_of_a_plane_shift_by_hand():
    """A bar of 1 x 1 x 4 voxels and one of 1 x 1 x 6 with the same start."""
    truth = box((4, 4, 12), (1, 1, 1), (1, 1, 4))
    longer = box((4, 4, 12), (1, 1, 1), (1, 1, 6))
    distances = surface_distances(truth, longer, (1.0, 1.0, 1.0))
    # Corners of a 1x1 bar: at each end 4 corner elements of area sqrt(3)/8 (one voxel set), along
    # it 4 edge elements of area sqrt(2)/2 per inner plane (3 planes for length 4, 5 for 6).
    end, ring = 4 * np.sqrt(3) / 8, 4 * np.sqrt(2) / 2
    assert distances.truth_area_mm2.sum() == pytest.approx(2 * end + 3 * ring)
    assert distances.prediction_area_mm2.sum() == pytest.approx(2 * end + 5 * ring)
    # Within 1 mm: all of the truth, and of the longer bar all but its last end (2 mm away).
    near = (2 * end + 3 * ring) + (end + 5 * ring)
    total = (2 * end + 3 * ring) + (2 * end + 5 * ring)
    assert distances.surface_dice(1.0) == pytest.approx(near / total, abs=1e-9)
    # At zero tolerance the planes 0.5 to 4.5 coincide: an end and 4 rings of the longer bar.
    exact = (2 * end + 3 * ring) + (end + 4 * ring)
    assert distances.surface_dice(0.0) == pytest.approx(exact / total, abs=1e-9)


def test_empty_masks():
    none, some = np.zeros((5, 5, 5), bool), box((5, 5, 5), (1, 1, 1), (2, 2, 2))
    assert np.isnan(surface_distances(none, none, (1, 1, 1)).surface_dice(1))
    assert np.isnan(surface_distances(none, none, (1, 1, 1)).hausdorff_mm())
    for pair in ((none, some), (some, none)):
        assert surface_distances(*pair, (1, 1, 1)).surface_dice(100) == 0.0
        assert surface_distances(*pair, (1, 1, 1)).hausdorff_mm() == np.inf
    assert bounding_box(none) is None


def test_shapes_must_agree():
    with pytest.raises(GeometryError, match="bring the prediction to the grid"):
        surface_distances(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool), (1, 1, 1))


def test_the_stored_triangles_are_those_of_marching_cubes():
    measure = pytest.importorskip("skimage.measure")
    vectors, codes = triangle_vectors()
    for code in range(1, 255):
        few = code if code.bit_count() <= 4 else 255 - code
        cube = np.array([(few >> (7 - i)) & 1 for i in range(8)], float).reshape(2, 2, 2)
        vertices, faces, _, _ = measure.marching_cubes(
            cube, 0.5, method="lorensen", allow_degenerate=True
        )
        a, b, c = (vertices[faces[:, k]].astype(float) for k in range(3))
        expected = np.abs(np.cross(b - a, c - a) / 2)
        expected = expected[expected.any(axis=1)]
        np.testing.assert_array_equal(vectors[codes == code], expected)


def test_areas_equal_deepminds_for_all_codes():
    tables = pytest.importorskip("surface_distance.lookup_tables")
    for spacing in ((1.0, 1.0, 1.0), (3.0, 1.0, 1.4), (0.7, 5.0, 2.0)):
        theirs = tables.create_table_neighbour_code_to_surface_area(spacing)
        np.testing.assert_allclose(_area_table(spacing), theirs, rtol=1e-12)


def _random_blobs(seed, shape=(24, 30, 27)):
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=shape), 2.5)
    other = 0.8 * field + 0.6 * gaussian_filter(rng.normal(size=shape), 2.5)
    limit = np.quantile(field, 0.7)
    return field > limit, other > limit


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (4.0, 0.8, 1.3)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_parity_with_deepmind_surface_distance(spacing):
    peer = pytest.importorskip("surface_distance")
    for seed in range(3):
        truth, prediction = _random_blobs(seed)
        theirs = peer.compute_surface_distances(truth, prediction, spacing)
        ours = surface_distances(truth, prediction, spacing)
        for tolerance in (0.0, 1.0, 2.0, 3.5):
            assert ours.surface_dice(tolerance) == pytest.approx(
                peer.compute_surface_dice_at_tolerance(theirs, tolerance), abs=1e-9
            )
        assert ours.hausdorff_mm(95) == pytest.approx(
            peer.compute_robust_hausdorff(theirs, 95), abs=1e-5
        )


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.5)])
def test_parity_with_monai_subvoxel_surface_dice(spacing):
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    truth, prediction = _random_blobs(7)
    value = metrics.compute_surface_dice(
        torch.from_numpy(prediction)[None, None],
        torch.from_numpy(truth)[None, None],
        class_thresholds=[2.0],
        include_background=True,
        spacing=spacing,
        use_subvoxels=True,
    )
    assert surface_distances(truth, prediction, spacing).surface_dice(2.0) == pytest.approx(
        float(value), abs=1e-5
    )


masks = arrays(bool, (4, 5, 3))


@settings(max_examples=40, deadline=None)
@given(masks, masks, st.floats(0.1, 5.0))
def test_properties(first, second, tolerance):
    spacing = (2.0, 1.0, 0.5)
    forward = surface_distances(first, second, spacing)
    backward = surface_distances(second, first, spacing)
    nsd = forward.surface_dice(tolerance)
    np.testing.assert_equal(nsd, backward.surface_dice(tolerance))
    np.testing.assert_equal(forward.hausdorff_mm(), backward.hausdorff_mm())
    if first.any() or second.any():
        assert 0.0 <= nsd <= 1.0
        assert nsd <= forward.surface_dice(tolerance + 1.0)
    if first.any():
        assert surface_distances(first, first, spacing).surface_dice(0.0) == 1.0
