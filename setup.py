"""Packages, package data and extras. Tool settings are in pyproject.toml.

`kernels/`, `plans/` and `model_zoo/` have no `__init__.py` in the checkout. `package_dir` gives
them names of their own in the wheel, beside `textseg3d`: the importable `textseg3d_kernels`, and
the data folders `textseg3d_plans` and `textseg3d_model_zoo`, which `textseg3d/resources.py` finds.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
KERNELS = find_packages("kernels", include=["textseg3d_kernels", "textseg3d_kernels.*"])
DATA_FOLDERS = {"textseg3d_plans": "plans", "textseg3d_model_zoo": "model_zoo"}
DATA_FILES = ["*.json", "**/*.json", "**/*.safetensors", "**/*.gz", "**/*.md"]

CORE = [
    "torch>=2.10",  # earlier releases have known holes in reading checkpoints
    "torchvision>=0.25",  # open_clip imports it; each release pins the torch that it belongs to
    "open_clip_torch>=3.0",
    "numpy>=1.26",
    "scipy>=1.11",
    "nibabel>=5.2",
    "pynrrd>=1.1",
    "pydicom>=3.0.2",  # earlier releases follow a DICOMDIR out of its folder
    "connected-components-3d>=3.18",
    "edt>=3.0",
    "isal>=1.6",
    "safetensors>=0.5",
    "matplotlib>=3.8",
    "huggingface_hub>=0.30",
    "filelock>=3.12",
    "blosc2>=3.0",
]
EXTRAS = {
    # DICOM segmentations; compressed transfer syntaxes: JPEG, JPEG 2000, JPEG-LS, RLE.
    "dicom": ["highdicom>=0.26", "pylibjpeg[all]>=2.0", "pyjpegls>=1.4"],
    # `textseg3d serve`; its client needs nothing but numpy.
    "server": ["fastapi>=0.115", "starlette>=0.40", "uvicorn>=0.30", "h11>=0.14"],
    # `textseg3d predict --executor ray`: workers on several machines.
    "ray": ["ray>=2.40"],
    # `Prediction.view` in notebooks.
    "notebook": ["ipyniivue>=2.4"],
    # `textseg3d train --tensorboard`.
    "tensorboard": ["tensorboard>=2.16"],
    # Text encoders of the Hugging Face hub ("hf:NAME", and the open_clip towers that wrap one).
    "huggingface": ["transformers>=4.40"],
    # Converted nnU-Nets: the package that their networks come from.
    "nnunet": ["dynamic_network_architectures>=0.4"],
    # `--device openvino`: another runtime for the convolutions on a CPU.
    "openvino": ["openvino>=2025.0"],
    # Other predictors and resampling, for `textseg3d bench` to compare with.
    "bench": ["nnunetv2>=2.6", "monai>=1.6", "scikit-image>=0.22"],
    # Only tests need these: peers to compare with, and tools.
    "test": [
        "pytest>=8",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.5",
        "hypothesis>=6.100",
        "ruff==0.17.6",
        "mypy==2.4.1",
        "setuptools>=68",
        "scikit-image>=0.22",
        "SimpleITK>=2.3",
        "highdicom>=0.26",
        "dcmqi>=1.5",
        "fastapi>=0.115",
        "uvicorn>=0.30",
        "httpx>=0.27",
        "playwright>=1.45",
        "ipyniivue>=2.4",
        "nbclient>=0.10",
        "ipykernel>=6",
        "schemathesis>=4.0",
        "slicerio>=1.4",
        "ray>=2.40",
        "slicer-core>=5.12",  # 3D Slicer's libraries without its window
        "PySide6-Essentials>=6.6",
        "jsonschema>=4.18",
        "monai>=1.6",
        "nnunetv2>=2.6",
        "voxtell>=0.1.2",
        "pylibjpeg[all]>=2.0",
        "pyjpegls>=1.4",
        "tensorboard>=2.16",
    ],
}
EXTRAS["dev"] = [*EXTRAS["test"], "build>=1.2"]


def version() -> str:
    """`__version__` of the package, read without importing it."""
    text = (ROOT / "textseg3d" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if found is None:
        raise RuntimeError("textseg3d/__init__.py has no __version__")
    return found.group(1)


setup(
    name="textseg3d",
    version=version(),
    description="Text-promptable 3-D segmentation of medical images, on a CPU or a GPU",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    author="The textseg3d contributors",
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["textseg3d", "textseg3d.*"]),
        *KERNELS,
        *DATA_FOLDERS,
    ],
    package_dir={"textseg3d_kernels": "kernels/textseg3d_kernels", **DATA_FOLDERS},
    package_data={
        "textseg3d": ["**/*.json", "**/*.jsonl", "**/*.gz"],
        "textseg3d.server.page": ["*.html", "*.css", "*.js", "*.txt"],
        **{name: DATA_FILES for name in DATA_FOLDERS},
    },
    include_package_data=False,
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["textseg3d = textseg3d.cli.main:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
)
