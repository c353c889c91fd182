"""Turns checkpoints in Hugging Face layout into releases of the model repository."""
