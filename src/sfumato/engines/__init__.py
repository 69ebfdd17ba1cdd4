"""Where the work of a stage runs: worker processes on this machine."""

from sfumato.engines.local import Work, clear_parts, default_workers, map_parts

__all__ = ["Work", "clear_parts", "default_workers", "map_parts"]
