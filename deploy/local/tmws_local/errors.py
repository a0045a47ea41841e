"""What a person is told when the stack cannot do what was asked.

StackError               1  one sentence, no traceback
├── UnusableDirectory    1  the data directory cannot be used by this TMWS
├── AlreadyRunning       1  a stack holds this data directory
├── PortTaken            1  somebody listens on the public port
└── ConfigurationRefused 78  the settings are wrong; do not try again with the same ones
"""

from __future__ import annotations

from typing import ClassVar


class StackError(Exception):
    """The stack cannot do what was asked; the message is one sentence for a person."""

    exit_code: ClassVar[int] = 1


class UnusableDirectory(StackError):
    """The data directory cannot be used by this TMWS."""


class AlreadyRunning(StackError):
    """Another stack holds this data directory."""


class PortTaken(StackError):
    """Somebody listens on the public port already."""


class ConfigurationRefused(StackError):
    """The settings are wrong."""

    exit_code: ClassVar[int] = 78  # EX_CONFIG of sysexits.h
