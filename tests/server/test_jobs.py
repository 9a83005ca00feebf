"""What the server keeps: limits, expiry, jobs that take too long."""

import time

import numpy as np
import pytest

from tests.model_factory import make_model
from textseg3d import Segmenter
from textseg3d.client.nrrd import decode_mask, encode
from textseg3d.errors import InputError
from textseg3d.io import read_volume
from textseg3d.server.jobs import ENDED, Desk, FullError, Limits


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    return Segmenter(make_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def desk_with(segmenter, tmp_path):
    made = []

    def make(**limits):
        made.append(Desk(segmenter, tmp_path, Limits(**limits)))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


def put_scan(desk):
    image = desk.new_image()
    array = np.random.default_rng(0).integers(-900, 300, (20, 24, 22), dtype=np.int16)
    image.scan.write_bytes(encode(array, (4.0, 3.0, 3.0)))
    return image


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_idle_images_go_by_themselves(desk_with):
    desk = desk_with(idle_seconds=1.0)
    image = put_scan(desk)
    wait_for(lambda: not image.folder.exists(), 60)
    assert desk.image(image.id) is None


def test_old_results_make_room_and_waiting_jobs_do_not(desk_with):
    desk = desk_with(jobs=2)
    image = put_scan(desk)
    first, second = (desk.new_job(image, ("liver",), "nifti") for _ in range(2))
    wait_for(lambda: first.status in ENDED and second.status in ENDED)
    assert (first.status, first.events[-1]) == ("done", {"event": "done"})
    third = desk.new_job(image, ("liver",), "nifti")
    assert desk.job(first.id) is None
    assert desk.job(second.id) is second
    wait_for(lambda: third.status in ENDED)
    desk.delete_image(image)
    assert desk.job(third.id) is None
    wait_for(lambda: not image.folder.exists())
    blocked = put_scan(desk_with(jobs=0))
    with pytest.raises(FullError):
        desk_with(jobs=0).new_job(blocked, ("liver",), "nifti")


def test_a_job_that_takes_too_long_fails(desk_with):
    desk = desk_with(job_seconds=-1.0)
    job = desk.new_job(put_scan(desk), ("liver",), "nifti")
    wait_for(lambda: job.status in ENDED)
    assert job.status == "failed"
    assert job.events[-1]["kind"] == "TimeoutError"
    assert job.files == ()


def test_arrays_travel_as_nrrd(tmp_path):
    direction = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
    path = tmp_path / "a.nrrd"
    for kind in ("int8", "uint8", "int16", "uint16", "int32", "float32", ">i2"):
        array = np.random.default_rng(1).integers(0, 100, (9, 10, 11)).astype(kind)
        path.write_bytes(encode(array, (2.0, 1.5, 1.25), direction, (1.0, 2.0, 3.0)))
        volume = read_volume(path)
        index = np.array([1, 2, 3])  # i, j, k
        place = volume.source.affine_lps @ [*index, 1]
        expected = direction @ (index * [1.25, 1.5, 2.0]) + [1, 2, 3]
        assert np.allclose(place[:3], expected)
        # `to_source` of the canonical array is the array in [i, j, k].
        assert np.array_equal(volume.to_source(volume.array[0]).transpose(2, 1, 0), array)
    mask = np.zeros((9, 10, 11), np.uint8)
    mask[1, 2, 3] = 1
    assert np.array_equal(decode_mask(encode(mask, (1, 1, 1))), mask > 0)
    with pytest.raises(InputError):
        encode(np.zeros((2, 2)), (1, 1, 1))
    with pytest.raises(InputError):
        decode_mask(b"NRRD0004\nencoding: raw\n\nx")
