"""Pure PyTorch implementations; they are also the CPU path."""
