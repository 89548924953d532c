"""What a server is told: one TOML file and ``--set key=value``, made into frozen dataclasses."""

from __future__ import annotations

from mailfw.configuration.keys import Choice, Configuration, Limits, Listen, PolicyChoice, Queue, TLSFiles
from mailfw.configuration.reading import configure
from mailfw.configuration.source import ConfigurationRefused, Source, usual_file

__all__ = [
    "Choice",
    "Configuration",
    "ConfigurationRefused",
    "Limits",
    "Listen",
    "PolicyChoice",
    "Queue",
    "Source",
    "TLSFiles",
    "configure",
    "usual_file",
]
