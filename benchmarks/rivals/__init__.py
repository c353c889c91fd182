"""What Recast is measured against: the same checkpoints the usual ways, by transformers and diffusers.

`notebook`: one process, one request at a time. `tutorial`: the same as one Python model of a tritonserver. `batching`:
the same with Triton's dynamic batching of whole requests. All three are `pipeline.Pipeline`.
"""
