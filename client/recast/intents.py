"""The kinds of edit that the command knows by name; a test compares them with the server's own."""

INTENTS = {
    "replace": 'replace "{target}" with "{replacement}"',
    "recolour": 'make "{target}" {replacement}',
    "remove": 'remove "{target}"',
}
"""Each intent with what it asks for, in words."""


def described(intent: str, target: str, replacement: str) -> str:
    """What an edit asks for, in words; an intent that only a newer server knows goes by its name."""
    if intent not in INTENTS:
        return f'{intent} "{target}" {replacement}'.rstrip()
    return INTENTS[intent].format(target=target, replacement=replacement)
