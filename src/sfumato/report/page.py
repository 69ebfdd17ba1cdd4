"""A study as one HTML page that opens anywhere, with its tables and plots as files beside it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sfumato.compare import Tables, is_crossed, is_obfuscated, judge, read_tables, short_name
from sfumato.errors import MissingExtra, UsageError
from sfumato.obfuscate import METHODS, hides
from sfumato.records import write_atomic, write_csv
from sfumato.report.charts import Chart, category_charts, difference_charts, faces_chart
from sfumato.report.face_facts import FaceFacts, face_facts
from sfumato.report.failures import failures
from sfumato.report.inputs import ReportInputs
from sfumato.report.numerals import count, percent, plural, typeset
from sfumato.report.pictures import examples
from sfumato.report.rows import Comparison, categories_grid, differences_grid, overall_grid

try:
    import jinja2
    from markupsafe import Markup
except ImportError as error:  # pragma: no cover - the test environment has it
    raise MissingExtra("report", "writing a report") from error

PAGE = "report.html"
FILES = "report-files"
FAILURES_SHOWN = 20
MANY_FACES = 8


def write_report(source: ReportInputs, out: Path, *, show_originals: bool = False) -> Path:
    """Write `report.html`, and every table as CSV and every plot as SVG in `report-files` beside it.

    The page needs no network, no script and no other file. Pictures in it are of obfuscated arms only: the
    report must not show what the study hides.

    Args:
        source: what to tell about.
        out: folder that both are written into; what else is there stays.
        show_originals: show the examples untouched too, faces and all.

    Returns:
        The path of the page.

    Raises:
        ManifestError, TableError: `source.tables` holds no finished comparison.
        MissingExtra: the extra "report" is not installed (when this module is imported).
    """
    tables = read_tables(source.tables)
    facts = face_facts(source.faces, source.original.categories)
    comparison = Comparison.of(tables)
    failed = failures(source, tables)
    charts = {
        "differences": list(difference_charts(comparison)),
        "categories": list(category_charts(comparison)),
        "faces": list(faces_chart(facts)),
    }
    files = _write_files(out / FILES, _tables(tables, facts, failed), charts)
    shown = _shown(source, show_originals=show_originals)
    context = {
        "source": source,
        "verdict": judge(tables),
        "charts": charts,
        "files": files,
        "show_originals": show_originals,
        "examples": examples(source.faces, shown),
        "withheld": [short_name(arm) for arm in source.variants if is_obfuscated(arm) and arm not in shown],
        "failed": failed.slice(0, FAILURES_SHOWN).to_pylist(),
        "n_failed": len(failed),
        **_comparison_context(comparison),
        **_facts_context(facts),
        **_reproduction_context(source, tables),
    }
    write_atomic(out / PAGE, _render(context).encode())
    return out / PAGE


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


def _tables(tables: Tables, facts: FaceFacts, failed: pa.Table) -> dict[str, pa.Table]:
    return {
        **tables.named(),
        "faces_by_category": facts.by_category,
        "faces_per_image": facts.per_image,
        "failed": failed,
    }


def _write_files(
    folder: Path, tables: Mapping[str, pa.Table], charts: Mapping[str, Sequence[Chart]]
) -> list[str]:
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    drawn = [chart for group in charts.values() for chart in group]
    for chart in drawn:
        write_atomic(folder / f"{chart.name}.svg", chart.svg)
    written = [f"{name}.csv" for name in tables] + [f"{chart.name}.svg" for chart in drawn]
    for path in folder.iterdir():
        if (
            path.suffix in {".csv", ".svg"} and path.name not in written
        ):  # of an earlier report with more arms or categories
            path.unlink()
    return written


def _comparison_context(comparison: Comparison) -> dict[str, Any]:
    tables = comparison.tables
    subsets = ("with_faces", "without_faces")
    settings = tables.manifest.settings if tables.manifest else {}
    return {
        "overall": overall_grid(comparison),
        "differences": differences_grid(comparison, "all"),
        "by_faces": {subset: differences_grid(comparison, subset) for subset in subsets},
        "categories": categories_grid(comparison),
        "names": comparison.names,
        "lead_model": "the mean over models" if comparison.lead_model == "all" else comparison.lead_model,
        "confidence": f"{100 * settings.get('confidence', 0.95):g}",
        "rounds": count(settings.get("rounds")),
        "n_excluded": len(tables.excluded),
    }


def _facts_context(facts: FaceFacts) -> dict[str, Any]:
    share = facts.n_with_faces / facts.n_examined if facts.n_examined else None
    mean = f"{facts.n_faces / facts.n_with_faces:.2f}" if facts.n_with_faces else "\N{EN DASH}"
    return {
        "facts": facts,
        "share_with_faces": percent(share),
        "faces_an_image": mean,
        "per_image": [
            {"faces": faces, "n_images": count(n), "share": percent(n / facts.n_examined)}
            for faces, n in _binned(facts.per_image.to_pylist()).items()
        ],
    }


def _binned(rows: Sequence[Mapping[str, int]]) -> dict[str, int]:
    binned: dict[str, int] = {}
    for row in rows:
        name = str(row["n_faces"]) if row["n_faces"] < MANY_FACES else f"{MANY_FACES} or more"
        binned[name] = binned.get(name, 0) + row["n_images"]
    return binned


def _reproduction_context(source: ReportInputs, tables: Tables) -> dict[str, Any]:
    manifest = tables.manifest
    inputs = dict(manifest.inputs) if manifest else {}
    keys = {"tables": manifest.key if manifest else "", "faces": source.faces.manifest.key}
    keys |= {"original": source.original.fingerprint}
    keys |= {f"variant {arm}": data.fingerprint for arm, data in source.variants.items()}
    keys |= {f"predictions {name}": key for name, key in inputs.items() if name != "faces"}
    return {
        "settings": dict(_flat(source.settings)),
        "versions": dict(manifest.versions) if manifest else {},
        "keys": keys,
    }


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _written(value)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _render(context: Mapping[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sfumato.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = count
    environment.filters["plural"] = plural
    environment.filters["typeset"] = typeset
    style = (Path(__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = environment.get_template("report.html.j2")
    return template.render(context, style=Markup(style), style_digest=digest)
