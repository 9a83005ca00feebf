import numpy as np

from textseg3d.inference.masks import PackedMask

SHAPE = (7, 9, 11)


def packed(array):
    hit = np.argwhere(array)
    box = tuple(slice(int(a), int(b) + 1) for a, b in zip(hit.min(0), hit.max(0)))
    return PackedMask.pack(array.shape, box, array[box])


def test_round_trip_union_and_count():
    rng = np.random.default_rng(0)
    first, second = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    first[1:4, 2:5, 3:10] = rng.random((3, 3, 7)) > 0.5
    second[2:7, 4:9, 0:5] = rng.random((5, 5, 5)) > 0.5
    a, b = packed(first), packed(second)
    assert np.array_equal(a.array(), first)
    assert a.voxels == first.sum()
    assert np.array_equal(PackedMask.union([a, b]).array(), first | second)


def test_union_with_nothing():
    nothing = PackedMask.empty(SHAPE)
    assert nothing.voxels == 0
    assert not nothing.array().any()
    assert PackedMask.union([nothing, nothing]).voxels == 0
    one = np.zeros(SHAPE, bool)
    one[3, 4, 5] = True
    assert np.array_equal(PackedMask.union([nothing, packed(one)]).array(), one)
