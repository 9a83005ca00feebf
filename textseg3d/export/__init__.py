"""Predictions to files: masks, record, label map, probabilities, preview, statistics."""

from textseg3d.export.files import ExportOptions, save_prediction
from textseg3d.export.naming import OutputNames, case_name, output_names

__all__ = ["ExportOptions", "OutputNames", "case_name", "output_names", "save_prediction"]
