"""Names of features, as ``get_feature_names_out`` of a transformer takes them."""

from __future__ import annotations

from typing import Any

import numpy as np


def checked_names(transformer: Any, given: Any) -> None:
    """Refuse names that are not those of the features a transformer was fitted with.

    Args:
        transformer: A fitted transformer.
        given: The names, or None.

    Raises:
        ValueError: If the names are others, or not one for each feature.
    """
    if given is None:
        return
    # The words are those that scikit-learn's own checks look for.
    names = np.asarray(given, dtype=object)
    known = vars(transformer).get("feature_names_in_", names)
    if names.shape != (transformer.n_features_in_,):
        raise ValueError(
            f"Argument input_features should have length equal to number of features "
            f"({transformer.n_features_in_}), but has shape {names.shape}."
        )
    if not np.array_equal(known, names):
        raise ValueError(
            "Argument input_features is not equal to feature_names_in_, the names of "
            f"the features in fit, but is {names.tolist()}."
        )
