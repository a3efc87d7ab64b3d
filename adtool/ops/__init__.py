"""Fused operators, one file each; `torch.ops.adtool.<name>` is native where a kernel is built and PyTorch elsewhere."""
