import torch.distributed as dist

from lookalike.training.stopping import Stop


def test_a_signal_that_comes_while_processes_agree_is_not_lost(monkeypatch):
    stop = Stop()
    signals = iter(["SIGTERM"])

    def agree(told, operation):
        stop.by = next(signals, stop.by)

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_backend", lambda: "gloo")
    monkeypatch.setattr(dist, "all_reduce", agree)
    assert not stop.stop_requested(), "the others know nothing of it yet"
    assert stop.stop_requested()
    assert stop.by == "SIGTERM"
