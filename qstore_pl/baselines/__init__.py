"""What a trained quantum model is worth beside simpler models, classical ones first.

:func:`report` trains them on the same parts of the same data, and says which of them
the model beats.
"""

from __future__ import annotations

from qstore_pl.baselines.comparison import BASELINES, report
from qstore_pl.baselines.results import Report, ReportRow
from qstore_pl.baselines.unentangled import without_entanglement

__all__ = ["BASELINES", "Report", "ReportRow", "report", "without_entanglement"]
