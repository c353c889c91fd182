"""Triton's `onnxruntime` backend in Python, for servers without the C++ one."""
