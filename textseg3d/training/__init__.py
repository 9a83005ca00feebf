"""Prompt-conditioned training: cases, window sampling, losses, the loop, checkpoints."""
