"""How good a classifier's scores are, on documents that it was not fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 10


def quality_of_scores(scores: npt.NDArray[np.float64], good: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Area under the ROC curve, accuracy at 0.5, log loss (nats), calibration error and reliability table.

    A row of the table is a tenth of the range of scores: "from", "to", "documents", "mean_score", "share_good"; a
    calibrated model has equal means and shares. The calibration error is the mean of their distance, weighted by
    documents (Naeini et al. 2015).

    Args:
        scores: [n] in [0, 1].
        good: [n] which belong to the good set; some must and some must not.
    """
    from sklearn.metrics import log_loss, roc_auc_score  # takes a second

    at = np.minimum((scores * BINS).astype(int), BINS - 1)
    rows = []
    for number in range(BINS):
        mine = at == number
        if mine.any():
            rows.append(
                {
                    "from": number / BINS,
                    "to": (number + 1) / BINS,
                    "documents": int(mine.sum()),
                    "mean_score": float(scores[mine].mean()),
                    "share_good": float(good[mine].mean()),
                }
            )
    error = sum(row["documents"] * abs(row["mean_score"] - row["share_good"]) for row in rows) / len(scores)
    return {
        "documents": len(scores),
        "auc": float(roc_auc_score(good, scores)),
        "accuracy": float(((scores > 0.5) == good).mean()),
        "log_loss": float(log_loss(good, scores, labels=[False, True])),
        "calibration_error": float(error),
        "reliability": rows,
    }
