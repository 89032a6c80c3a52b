"""Trains gradient boosting on the prepared flights, logs parameters and metrics to MLflow, and writes an MLflow model."""

from __future__ import annotations

import argparse
import warnings
from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

CATEGORIES = ["carrier", "origin", "dest"]
LABEL = "late"
# The model is written with skops, which opens without running code from the file, unlike a pickle. These are the types beyond its own
# list that a fitted pipeline of this kind holds; code/score/score.py opens the model with the same three.
TRUSTED_TYPES = [
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
]
REQUIREMENTS = ["scikit-learn", "skops", "pandas", "numpy"]


def build(seed: int, **parameters: float) -> Pipeline:
    """An untrained pipeline: categories to numbers, the rest as it is, then the trees. A category never seen counts as missing."""
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=float("nan"))
    encode = ColumnTransformer([("categories", encoder, CATEGORIES)], remainder="passthrough", verbose_feature_names_out=False)
    trees = HistGradientBoostingClassifier(categorical_features=list(range(len(CATEGORIES))), random_state=seed, **parameters)
    return Pipeline([("encode", encode), ("trees", trees)])


def categories(model: Pipeline) -> dict[str, list[str]]:
    """The categories that a trained pipeline knows, by column."""
    encoder = model.named_steps["encode"].named_transformers_["categories"]
    return {column: [str(value) for value in known] for column, known in zip(CATEGORIES, encoder.categories_, strict=True)}


def save(model: Pipeline, flights: pd.DataFrame, folder: Path) -> None:
    """Writes the MLflow model with its signature, an example and the categories it knows: all that a service needs to check a request."""
    example = flights.head(2).reset_index(drop=True)
    # The whole numbers are the schedule's, which is never missing: what MLflow warns of cannot happen.
    warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer column")
    mlflow.sklearn.save_model(
        model,
        str(folder),
        signature=infer_signature(example, model.predict_proba(example)),
        input_example=example,
        pyfunc_predict_fn="predict_proba",
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        skops_trusted_types=TRUSTED_TYPES,
        metadata={"categories": categories(model)},
    )


def fit_metrics(model: Pipeline, flights: pd.DataFrame, late: pd.Series) -> dict[str, float]:
    """How well the model fits every tenth flight that it was trained on; much better than on unseen flights means that it learned by heart.

    The names differ from those of the held-out metrics that evaluate.py logs, so that a gate never takes one for the other.
    """
    probability = model.predict_proba(flights.iloc[::10])[:, 1]
    part = late.iloc[::10]
    return {"train_flights": len(flights), "train_log_loss": log_loss(part, probability), "train_roc_auc": roc_auc_score(part, probability)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, required=True, help="folder with flights.parquet, the training part")
    parser.add_argument("--learning-rate", type=float, default=0.08)
    parser.add_argument("--max-iter", type=int, default=50, help="number of trees")
    parser.add_argument("--max-leaf-nodes", type=int, default=31)
    parser.add_argument("--min-samples-leaf", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, required=True, help="folder to write the MLflow model to")
    arguments = parser.parse_args()

    table = pd.read_parquet(arguments.train / "flights.parquet")
    flights, late = table.drop(columns=LABEL), table[LABEL]
    parameters = {name: getattr(arguments, name) for name in ("learning_rate", "max_iter", "max_leaf_nodes", "min_samples_leaf", "seed")}
    with mlflow.start_run():
        mlflow.log_params(parameters)
        model = build(**parameters).fit(flights, late)
        metrics = fit_metrics(model, flights, late)
        mlflow.log_metrics(metrics)
        save(model, flights, arguments.model)
    print(", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))


if __name__ == "__main__":
    main()
