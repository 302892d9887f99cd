"""Tests of faults leave containers to be reaped as those of attacks do."""

from tests.attacks.conftest import reaped

__all__ = ["reaped"]
