"""CT series made with pydicom, slice by slice, with any tag changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless, generate_uid

SERIES = "1.2.826.0.1.3680043.8.498.1"
REFERENCE = "1.2.826.0.1.3680043.8.498.2"
ROWS, COLUMNS, COUNT = 20, 24, 16
PIXEL_MM = (1.25, 0.75)  # between rows, between columns
STEP_MM = 3.0
FIRST = np.array([-100.0, -80.0, -400.0])


def stored_values(count=COUNT, seed=0):
    """Stored values [k, rows, columns], 12 bits, HU = stored - 1024."""
    return np.random.default_rng(seed).integers(0, 3000, (count, ROWS, COLUMNS)).astype(np.uint16)


def ct_slice(stored, position, orientation=(1, 0, 0, 0, 1, 0), number=1, **tags):
    """A CT slice; `tags` sets elements by keyword, None deletes them."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = tags.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID = meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.3"
    ds.SeriesInstanceUID = SERIES
    ds.FrameOfReferenceUID = REFERENCE
    ds.PatientID, ds.PatientName = "P1", "Phantom^Test"
    ds.PatientBirthDate = ds.PatientSex = ds.AccessionNumber = ""
    ds.StudyID = "1"
    ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName = "20200101", "120000", ""
    ds.PositionReferenceIndicator = ds.Manufacturer = ""
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "CT", 3, number
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ImagePositionPatient = [float(v) for v in position]
    ds.ImageOrientationPatient = [float(v) for v in orientation]
    ds.PixelSpacing = list(PIXEL_MM)
    ds.SliceThickness = STEP_MM
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.PixelData = stored.tobytes()
    for key, value in tags.items():
        if value is None:
            delattr(ds, key)
        else:
            setattr(ds, key, value)
    return ds


def ct_series(count=COUNT, orientation=(1, 0, 0, 0, 1, 0), step=None, values=None, **tags):
    """Slices along the normal of `orientation` (or along `step`)."""
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    step = np.cross(row, column) * STEP_MM if step is None else np.asarray(step, float)
    values = stored_values(count) if values is None else values
    return [ct_slice(values[k], FIRST + k * step, orientation, k + 1, **tags) for k in range(count)]


def save(datasets, folder, prefix="IM", seed=1):
    """Write slices under names whose order says nothing about their place."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(datasets))
    for name, k in enumerate(order):
        datasets[k].save_as(folder / f"{prefix}{name:04d}.dcm", enforce_file_format=True)
    return folder


def read_sorted(folder):
    """Data sets of a folder, as an oracle's input."""
    return [pydicom.dcmread(path) for path in sorted(Path(folder).glob("*.dcm"))]


def compressed_series(folder, **tags):
    """A JPEG-LS series, and its values in HU [k, rows, columns]."""
    values = stored_values()
    series = ct_series(values=values, **tags)
    for ds in series:
        ds.compress(JPEGLSLossless, generate_instance_uid=False)
    return save(series, folder), values.astype(np.int32) - 1024


def broken_decoder(folder, deed):
    """A folder for PYTHONPATH with a `gdcm`, which pydicom asks first, that does a `deed`."""
    folder.mkdir()
    text = "import os, signal, sys, time\n"
    text += "class Version:\n    GetVersion = staticmethod(lambda: '3.0.24')\n"
    text += f"def __getattr__(name):\n    if not name.startswith('__'):\n        {deed}\n"
    (folder / "gdcm.py").write_text(text + "    raise AttributeError(name)\n")
    return folder
