"""Every environment variable that the server reads. docker/README.md has the same table for operators."""

ADMIN_KEY = "RECAST_ADMIN_KEY"
"""What opens the control of models, 16 characters or more. Read by the launcher; absent: drawn, and left in a file."""
TRITONSERVER_HOME = "TRITONSERVER_HOME"
"""The folder of an installed tritonserver, such as /opt/tritonserver; absent: that of the package nvidia-pytriton."""

# Set by the launcher, read by the processes of the models. Absent under a tritonserver that was started otherwise.
METRICS = "RECAST_METRICS"
"""host:port of Triton's metrics. Read by admit, which without it admits everybody."""
INFLIGHT = "RECAST_INFLIGHT"
"""The folder in which each process of a step tells how many requests it works on (see `serving.inflight`)."""
PROBE_ID = "RECAST_PROBE_ID"
"""The request id of the launcher's own inferences, which are no edits. Each server has another, known to no caller."""
HUNG_AFTER = "RECAST_HUNG_AFTER"
"""Seconds without progress after which a process ends itself (see `serving.steps.watchdog`); absent: never."""
