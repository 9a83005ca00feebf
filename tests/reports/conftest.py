"""A test model that knows findings, and a scan for it."""

import nibabel as nib
import numpy as np
import pytest

from tests.model_factory import make_model

KNOWN = (
    "pulmonary nodule", "atelectasis", "renal cyst", "pleural effusion", "pneumothorax",
    "pericardial effusion", "left lung", "right lung", "lower lobe of left lung",
    "middle lobe of right lung", "left kidney", "right kidney",
)  # fmt: skip


@pytest.fixture(scope="session")
def finding_model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "finder", concepts=KNOWN)


@pytest.fixture
def scan(tmp_path):
    """A NIfTI in RAS order, 30 x 26 x 24 voxels of 3 x 3 x 4 mm, a body with smooth contents."""
    rng = np.random.default_rng(1)
    array = (rng.normal(size=(30, 26, 24)).cumsum(0) * 60).clip(-900, 1000).astype(np.int16)
    path = tmp_path / "in" / "ct.nii.gz"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(array, np.diag([3.0, 3, 4, 1])), path)
    return path
