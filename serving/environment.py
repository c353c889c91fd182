"""Every environment variable of Recast, of whatever reads it: the names that the server's code goes by, and the table.

docker/README.md has the table for operators. A test finds the names that the tree uses and compares all three.
"""

from dataclasses import dataclass

ADMIN_KEY = "RECAST_ADMIN_KEY"
TRITONSERVER_HOME = "TRITONSERVER_HOME"
METRICS = "RECAST_METRICS"
INFLIGHT = "RECAST_INFLIGHT"
PROBE_ID = "RECAST_PROBE_ID"
HUNG_AFTER = "RECAST_HUNG_AFTER"
ARGUMENT = "RECAST_ARGUMENT_"

LAUNCHER, MODELS, CLIENT, COMPOSE, HAPROXY = "launcher", "tritonserver and models", "client", "compose", "haproxy"


@dataclass(frozen=True)
class Variable:
    """One variable as one reader means it; `absent` is what holds without it.

    The launcher sets those of tritonserver and its models; all others are for operators and callers to set.
    """

    name: str
    reader: str
    meaning: str
    absent: str


VARIABLES = (
    Variable(ADMIN_KEY, LAUNCHER, "what opens the control of models, 16 characters or more", "drawn, left in a file"),
    Variable(TRITONSERVER_HOME, LAUNCHER, "folder of an installed tritonserver", "the one of nvidia-pytriton"),
    Variable(METRICS, MODELS, "host:port of Triton's metrics, which admit reads", "everybody is admitted"),
    Variable(INFLIGHT, MODELS, "folder where processes count their in-flight requests", "none are counted"),
    Variable(PROBE_ID, MODELS, "request id of the launcher's own inferences, known to no caller", "there are none"),
    Variable(HUNG_AFTER, MODELS, "seconds without progress after which a process ends itself", "never"),
    Variable(ARGUMENT, MODELS, "and a number: arguments of tritonserver that hold the admin key", "none do"),
    Variable("RECAST_URL", CLIENT, "host:port of the server's gRPC", "localhost:8001"),
    Variable(ADMIN_KEY, CLIENT, "sent with calls that control the server", "such calls are refused"),
    Variable("RECAST_API_KEY", CLIENT, "sent with every call, for a proxy that asks for it", "none is sent"),
    Variable("RECAST_TLS_CA", CLIENT, "PEM file of the authorities that the server is checked against", "no TLS"),
    Variable("RECAST_TLS_CERT", CLIENT, "PEM file of the caller's own certificate", "none is shown"),
    Variable("RECAST_TLS_KEY", CLIENT, "PEM file of that certificate's private key", "none"),
    Variable("TRACEPARENT", CLIENT, "W3C trace that the calls belong to", "each call begins its own"),
    Variable("RECAST_MODELS", COMPOSE, "folder of the model repository, which user 1000 can read", "model_repository/"),
    Variable("RECAST_ADDRESS", COMPOSE, "address to listen on; 0.0.0.0 opens it to the network", "127.0.0.1"),
    Variable(ADMIN_KEY, COMPOSE, "handed to the launcher", "drawn, left in a file"),
    Variable("TRITON_IMAGE", COMPOSE, "NVIDIA's tritonserver image, for the GPU", "the build is refused"),
    Variable("PIP_EXTRA_INDEX_URL", COMPOSE, "index of PyTorch's CPU wheels, for the CPU", "the larger CUDA wheels"),
    Variable("RECAST_BIND", HAPROXY, "address and port to listen on", "127.0.0.1:8001"),
    Variable("RECAST_CERTIFICATE", HAPROXY, "PEM file of certificate and key: callers must speak TLS", "no TLS"),
    Variable("RECAST_CLIENT_CA", HAPROXY, "PEM file: callers must show a certificate of this authority", "none asked"),
    Variable("RECAST_API_KEYS", HAPROXY, "file of hashed keys and names: callers must send a key", "none asked"),
    Variable("RECAST_CALLER_LIMIT", HAPROXY, "calls in flight of one caller, where keys tell them apart", "16"),
    Variable("RECAST_REPLICA_1", HAPROXY, "address and port of the first replica", "127.0.0.1:18001"),
    Variable("RECAST_REPLICA_2", HAPROXY, "address and port of the second replica", "127.0.0.1:28001"),
    Variable("RECAST_REPLICAS", HAPROXY, "name:port with one DNS address a replica, in place of the two", "the two"),
    Variable("RECAST_DNS", HAPROXY, "address and port of the DNS server to ask", "those of /etc/resolv.conf"),
    Variable("RECAST_HTTP_PORT", HAPROXY, "port on which every replica answers for its readiness", "8000"),
    Variable("RECAST_METRICS", HAPROXY, "address and port of HAProxy's own metrics", "127.0.0.1:8404"),
)
