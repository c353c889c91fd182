"""Inpainting by latent diffusion, as diffusers' pipelines do it: an edit (inpaint) crops, runs the networks (pipeline)
over a sampler's plan (samplers, denoise) and composites. numpy alone; the networks are called by name."""
