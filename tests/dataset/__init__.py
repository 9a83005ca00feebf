"""Tests of datasets in nnU-Net's layout."""
