"""Tables to pictures to one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sfumato.report.inputs import ReportInputs, SelfCheck, find_transfer

if TYPE_CHECKING:
    from sfumato.report.page import write_report

__all__ = ["ReportInputs", "SelfCheck", "find_transfer", "write_report"]


def __getattr__(name: str) -> Any:
    # Jinja2 and matplotlib are an extra: naming the inputs must work without them.
    if name == "write_report":
        from sfumato.report.page import write_report

        return write_report
    raise AttributeError(f"module 'sfumato.report' has no attribute '{name}'")
