"""Rate limiting of many small requests: a few at a time per host, and a pause if a host asks for one."""

import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

DEAD = 20


@dataclass
class _Host:
    waiting: deque[str] = field(default_factory=deque)
    active: int = 0
    ready_at: float = 0.0
    failures: int = 0
    reason: str = ""


class Hosts:
    """A queue of URLs by host for several threads."""

    def __init__(self, urls: Iterable[str], per_host: int):
        self.per_host = per_host
        self.changed = threading.Condition()
        self.hosts: dict[str, _Host] = {}
        self.stopped = False
        for url in urls:
            self.hosts.setdefault(host_of(url), _Host()).waiting.append(url)

    def take(self) -> str | None:
        """The next URL whose host has a free slot; waits for one, and is None when there are no more."""
        with self.changed:
            while not self.stopped:
                now = time.monotonic()
                free = [host for host in self.hosts.values() if host.waiting and host.active < self.per_host]
                host = next((host for host in free if host.ready_at <= now), None)
                if host is not None:
                    host.active += 1
                    return host.waiting.popleft()
                busy = any(host.waiting or host.active for host in self.hosts.values())
                if not busy:
                    return None
                soonest = min((host.ready_at for host in free), default=now + 1)
                self.changed.wait(max(0.01, soonest - now))
            return None

    def finish_url(self, url: str) -> None:
        """The URL is finished, successfully or not."""
        self._release_host(url)
        self._log_dead_host()

    def mark_alive(self, url: str) -> None:
        """The host responds."""
        self.hosts[host_of(url)].failures = 0

    def requeue(self, url: str, pause: float, *, whole_host: bool) -> None:
        """Put the URL at the end of its host's queue; pause the host if it asked for that."""
        host = self._release_host(url)
        with self.changed:
            host.waiting.append(url)
            if whole_host or len(host.waiting) == 1:
                host.ready_at = max(host.ready_at, time.monotonic() + pause)
        self._log_dead_host()

    def mark_failed(self, url: str, reason: str) -> None:
        """The host did not respond, or not completely."""
        host = self.hosts[host_of(url)]
        with self.changed:
            host.failures, host.reason = host.failures + 1, reason

    def dead_hosts(self, url: str) -> str | None:
        """Why a host is given up (too many consecutive failures); None if it is not."""
        host = self.hosts[host_of(url)]
        if host.failures < DEAD:
            return None
        return f"its host failed {DEAD} times in a row, the last time: {host.reason}"

    def stop(self) -> None:
        """Return no more URLs."""
        with self.changed:
            self.stopped = True
        self._log_dead_host()

    def _release_host(self, url: str) -> _Host:
        host = self.hosts[host_of(url)]
        with self.changed:
            host.active -= 1
        return host

    def _log_dead_host(self) -> None:
        with self.changed:
            self.changed.notify_all()


def host_of(url: str) -> str:
    """Host and port of a URL; the text itself if it is not a URL."""
    try:
        return urllib.parse.urlsplit(url.strip()).netloc.lower() or url
    except ValueError:
        return url
