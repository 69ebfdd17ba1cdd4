"""Statistics: predictions in, tables and a verdict out; knows tables only, never a model."""

from sfumato.compare.arms import arm_name, is_crossed, is_obfuscated, reference_of, short_name, short_names
from sfumato.compare.by_group import Grouping, read_groupings
from sfumato.compare.comparison import compare
from sfumato.compare.gains import Gain
from sfumato.compare.kinds import need_comparable
from sfumato.compare.settings import CompareSettings
from sfumato.compare.tables import Tables, read_tables
from sfumato.compare.verdict import Finding, Verdict, judge

__all__ = [
    "CompareSettings",
    "Finding",
    "Gain",
    "Grouping",
    "Tables",
    "Verdict",
    "arm_name",
    "compare",
    "is_crossed",
    "is_obfuscated",
    "judge",
    "need_comparable",
    "read_groupings",
    "read_tables",
    "reference_of",
    "short_name",
    "short_names",
]
