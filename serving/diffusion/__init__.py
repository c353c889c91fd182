"""Inpainting by latent diffusion: schedules, samplers, the denoising loop, one edit. numpy alone."""
