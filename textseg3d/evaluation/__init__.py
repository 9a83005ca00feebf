"""Scores of masks against truth, the rules of named benchmarks, and reports.

``metrics``, ``surface``, ``instances`` and ``laterality`` are plain functions on arrays;
``protocols`` holds the rules of nnU-Net, ReXGroundingCT, CVPR-2025 and SAT; ``cases`` runs a
model on labelled scans; ``report`` writes what came out.
"""
