"""Metrics of a service in the format of Prometheus."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts and times, without names of identities or files."""

    def __init__(self) -> None:
        disable_created_metrics()  # the time of the first event of each series, twice as many lines
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "lookalike_requests", "Answered requests", ["endpoint", "status"], registry=registry
        )
        self.seconds = Histogram(
            "lookalike_request_seconds", "Seconds from request to answer", ["endpoint"], buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self.rejected = Counter(
            "lookalike_rejected", "Requests and connections that were refused", ["reason"], registry=registry
        )
        self.photos = Counter("lookalike_photos", "Photos that were sent", ["result"], registry=registry)
        self.answers = Counter("lookalike_answers", "Answers of identify", ["answer"], registry=registry)
        self.batch = Histogram("lookalike_batch_size", "Pictures in a pass of the model", buckets=SIZES,
                               registry=registry)  # fmt: skip
        self.enrolled = Counter("lookalike_enrolled_photos", "Enrolled photos", registry=registry)
        self.forgotten = Counter("lookalike_forgotten_photos", "Forgotten photos", registry=registry)
        self.connections = Gauge("lookalike_connections", "Open connections", registry=registry)
        self.computing = Gauge(
            "lookalike_computing_requests", "Requests that compute or wait for the model", registry=registry
        )
        self.images = Gauge("lookalike_images", "Enrolled photos", registry=registry)
        self.identities = Gauge("lookalike_identities", "Enrolled identities", registry=registry)
        self.uploads = Gauge("lookalike_kept_uploads", "Uploads that can be enrolled", registry=registry)

    def text(self) -> bytes:
        """All metrics."""
        return generate_latest(self.registry)
