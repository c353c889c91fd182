"""Why a tritonserver did not start, found in its log."""

import re


def explain(log: str, status: int | None) -> str:
    """One line a cause, found in the log of a tritonserver that ended while starting."""
    failures = re.findall(r"failed to load '([^']+)' version (\d+): (.*)", log)
    reasons = [f"'{model}' version {version} failed to load: {_brief(why)}" for model, version, why in failures]
    polls = re.findall(r"Poll failed for model directory '([^']+)': (.*)", log)
    reasons += [f"'{model}': {_brief(why)}" for model, why in polls]
    reasons += re.findall(r"\[libprotobuf ERROR .*\] (.*)", log)
    reasons += re.findall(r"(failed to start .* service: .*)", log)
    if not reasons:
        reasons = log.splitlines()[-5:]
    return "\n  ".join([f"tritonserver ended with status {status} while starting:", *dict.fromkeys(reasons)])


def _brief(reason: str) -> str:
    """The first sentence of a model's own reason, without the traceback that Triton appends as '\\n'."""
    return reason.split("\\n")[0].removesuffix('"')
