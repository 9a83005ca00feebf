"""Measures the engine, alone and beside its peers; every measured run is a process of its own."""
