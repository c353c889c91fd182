"""The models of a repository: which are steps, which networks each step calls, and which models callers enter by."""

NETWORKS: dict[str, tuple[str, ...]] = {
    "parse": (),
    "mask": ("segmenter",),
    "inpaint": ("text_encoder", "vae_encoder", "vae_decoder", "unet"),
}
"""The steps of an edit in their order, and the networks that each calls and is released with."""
STEPS = tuple(NETWORKS)
ADMIT = "admit"
"""Where an edit is admitted, or refused, before the first step. It calls nothing and has no release."""
PROBED = (ADMIT, *STEPS)
"""What the launcher's health probe asks, in this order: everything an edit goes through."""
REPLACE, REPLACE_STREAM = "replace", "replace_stream"
ENTRY_POINTS = (REPLACE, REPLACE_STREAM)
"""Where callers come in: the ensemble, and the decoupled model that runs the same chain."""
SERVED_BY: dict[str, tuple[str, ...]] = {"inpaint": (REPLACE_STREAM,)}
"""Entry points that serve a step's release themselves: they have its files, beside a model.py of their own."""


def networks_of(model: str) -> tuple[str, ...]:
    """The networks that a step calls; none for admit and the entry points."""
    return NETWORKS.get(model, ())


def released_with(step: str) -> tuple[str, ...]:
    """Every model that a release of `step` has a version folder in, the step last."""
    return (*NETWORKS[step], *SERVED_BY.get(step, ()), step)
