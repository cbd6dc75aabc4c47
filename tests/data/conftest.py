"""Every data test has its own empty cache, and reaching for the network or pip fails it."""

import socket
import subprocess

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.delenv("RECSYS_POSTTRAIN_DATA", raising=False)
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
