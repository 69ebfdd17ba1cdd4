"""A study as one HTML page that opens anywhere, with its tables and plots as files beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sfumato.compare import Verdict, is_crossed, is_obfuscated, judge, read_tables, short_name
from sfumato.compare.published import published_summary
from sfumato.compare.verdict import VERDICT, write_verdict
from sfumato.errors import MissingExtra, UsageError
from sfumato.obfuscate import METHODS, hides
from sfumato.records import write_atomic, write_csv
from sfumato.report.categories import ArmCategories, categories_section
from sfumato.report.changes import changes_section
from sfumato.report.charts import (
    Chart,
    cost_charts,
    exposure_charts,
    faces_chart,
    group_charts,
    transfer_charts,
)
from sfumato.report.comparison import Comparison
from sfumato.report.cost import cost_section
from sfumato.report.downstream import Transfer, read_transfers
from sfumato.report.exposure import exposure_section
from sfumato.report.face_counts import faces_section
from sfumato.report.face_facts import FaceFacts, face_facts
from sfumato.report.failures import failures
from sfumato.report.groups import groups_section
from sfumato.report.inputs import ReportInputs
from sfumato.report.numerals import count, plural, typeset
from sfumato.report.pictures import examples
from sfumato.report.privacy import privacy_section
from sfumato.report.reference import beside_table, reference_section
from sfumato.report.reproduction import reproduction_section
from sfumato.report.transfer import transfer_section, transfer_tables

try:
    import jinja2
    from markupsafe import Markup
except ImportError as error:  # pragma: no cover - the test environment has it
    raise MissingExtra("report", "writing a report") from error

PAGE = "report.html"
FILES = "report-files"
FAILURES_SHOWN = 20
TEMPLATES = Path(__file__).parent / "templates"


def write_report(source: ReportInputs, out: Path, *, show_originals: bool = False) -> Path:
    """Write `report.html`, and every table as CSV and every plot as SVG in `report-files` beside it.

    The page needs no network and no other file; its script only adds searching, sorting and pointing at
    things. Pictures in it are of obfuscated arms only: the report must not show what the study hides.

    Args:
        source: what to tell about.
        out: folder that both are written into; what else is there stays.
        show_originals: show the examples untouched too, faces and all.

    Returns:
        The path of the page.

    Raises:
        ManifestError, TableError: `source.tables`, or a folder of `source.transfer`, holds no finished
            comparison.
        UsageError: a folder of `source.transfer` compares no downstream task.
        MissingExtra: the extra "report" is not installed (when this module is imported).
    """
    comparison = Comparison.of(read_tables(source.tables))
    verdict = judge(comparison.tables)
    facts = face_facts(source.faces, source.original.categories)
    failed = failures(source, comparison.tables)
    beside = beside_table(comparison)
    findings = {found.arm: found for found in verdict.findings}
    transfers = read_transfers(source.transfer)
    categories = list(categories_section(comparison, findings))
    charts = _charts(comparison, transfers, facts)
    tables = _tables(comparison, facts, failed) | {
        "published": beside,
        "published_summary": published_summary(),
        **transfer_tables(transfers),
    }
    context = {
        "source": source,
        "comparison": comparison,
        "verdict": verdict,
        "charts": charts,
        "files": _write_files(out / FILES, tables, _plots(charts, categories), verdict),
        "privacy": privacy_section(comparison.names),
        "cost": cost_section(comparison, verdict),
        "categories": categories,
        "changes": changes_section(comparison),
        "knows_precision": len(comparison.tables.precision) > 0,
        "exposure": exposure_section(comparison),
        "groups": groups_section(comparison),
        "transfer": transfer_section(transfers),
        "published": reference_section(comparison, beside),
        "faces": faces_section(facts),
        "examples": _examples_section(source, show_originals=show_originals),
        "failed": failed.slice(0, FAILURES_SHOWN).to_pylist(),
        "n_failed": len(failed),
        "again": reproduction_section(source, comparison, transfers),
    }
    write_atomic(out / PAGE, _render(context).encode())
    return out / PAGE


def _charts(
    comparison: Comparison, transfers: Sequence[Transfer], facts: FaceFacts
) -> dict[str, list[Chart]]:
    return {
        "cost": list(cost_charts(comparison)),
        "exposure": list(exposure_charts(comparison)),
        "groups": list(group_charts(comparison)),
        "transfer": list(transfer_charts(transfers)),
        "faces": list(faces_chart(facts)),
    }


def _examples_section(source: ReportInputs, *, show_originals: bool) -> dict[str, Any]:
    shown = _shown(source, show_originals=show_originals)
    return {
        "show_originals": show_originals,
        "pictures": examples(source.faces, shown),
        "withheld": [short_name(arm) for arm in source.variants if is_obfuscated(arm) and arm not in shown],
    }


def _shown(source: ReportInputs, *, show_originals: bool) -> dict[str, Any]:
    hidden = {arm: data for arm, data in source.variants.items() if _may_be_shown(arm)}
    if not show_originals:
        return hidden
    plain = {arm: data for arm, data in source.variants.items() if arm not in hidden and arm != "original"}
    return {"original": source.original, **plain, **hidden}


def _may_be_shown(arm: str) -> bool:
    """Whether an arm's pictures may be seen by anybody: weak methods leave faces that can be recognised."""
    if not is_obfuscated(arm) or is_crossed(arm):
        return False
    try:
        return hides(METHODS.build(arm))
    except UsageError:  # of a plug-in that is not installed here
        return False


def _tables(comparison: Comparison, facts: FaceFacts, failed: pa.Table) -> dict[str, pa.Table]:
    return {
        **comparison.tables.named(),
        "faces_by_category": facts.by_category,
        "faces_per_image": facts.per_image,
        "failed": failed,
    }


def _plots(charts: Mapping[str, Sequence[Chart]], categories: Sequence[ArmCategories]) -> dict[str, bytes]:
    """Name of each SVG file to its bytes."""
    found = {chart.name: chart.svg for group in charts.values() for chart in group}
    return found | {f"categories-{arm.number}": arm.svg.encode() for arm in categories if arm.svg}


def _write_files(
    folder: Path, tables: Mapping[str, pa.Table], plots: Mapping[str, bytes], verdict: Verdict
) -> list[str]:
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    for name, svg in plots.items():
        write_atomic(folder / f"{name}.svg", svg)
    write_verdict(folder, verdict)
    written = [VERDICT, *(f"{name}.csv" for name in tables), *(f"{name}.svg" for name in plots)]
    for path in folder.iterdir():
        # Left by an earlier report with more arms or categories.
        if path.suffix in {".csv", ".svg"} and path.name not in written:
            path.unlink()
    return written


def _render(context: Mapping[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sfumato.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "plural": plural, "typeset": typeset}
    inline = {name: (TEMPLATES / f"report.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    digests = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for name, text in inline.items()
    }
    template = environment.get_template("report.html.j2")
    return template.render(
        context, inline={name: Markup(text) for name, text in inline.items()}, digests=digests
    )
