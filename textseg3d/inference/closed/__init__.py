"""Networks with a fixed list of classes (nnU-Net's), behind the same prompts as any model."""
