"""Public functions: argument checks, allocation, choice of the implementation."""
