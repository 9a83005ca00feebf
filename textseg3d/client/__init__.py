"""A client of `textseg3d serve` that needs numpy and the standard library, nothing else."""

from textseg3d.client.client import Client, Result, ServerError

__all__ = ["Client", "Result", "ServerError"]
