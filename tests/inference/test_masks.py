import numpy as np

from textseg3d.inference.masks import PackedMask, whole_bytes

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


def test_rows_of_whole_bytes_are_combined_as_bytes():
    rng = np.random.default_rng(3)
    shape = (6, 7, 40)
    masks = []
    for x in (slice(8, 24), slice(16, 40), slice(0, 8)):
        full = np.zeros(shape, bool)
        box = (slice(*sorted(rng.choice(7, 2, replace=False))), slice(1, 6), x)
        full[box] = rng.random(full[box].shape) > 0.4
        bytewise, plain = PackedMask.pack(shape, box, full[box]), packed(full)
        assert bytewise.aligned
        assert np.array_equal(np.unpackbits(bytewise.rows, axis=2), full[box])
        masks.append((full, bytewise, plain))
    for full, *forms in masks:
        for other, *others in masks:
            for one in forms:
                for two in others:
                    assert one.shared(two) == np.count_nonzero(full & other)
                    assert np.array_equal(PackedMask.union([one, two]).array(), full | other)
    assert whole_bytes(slice(9, 30), 40) == slice(8, 32)
    assert whole_bytes(slice(9, 30), 31) == slice(9, 30)
    assert whole_bytes(slice(0, 40), 40) == slice(0, 40)
