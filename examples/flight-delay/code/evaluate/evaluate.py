"""Measures a model on the flights it has not seen, logs the metrics to MLflow, and writes a report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib
import mlflow
import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score, roc_curve

matplotlib.use("Agg")  # draws without a screen
from matplotlib import pyplot as plt

LABEL = "late"
BINS = 10


def calibration(late: np.ndarray, probability: np.ndarray) -> pd.DataFrame:
    """Flights in ten equal groups by forecast: how many, the mean forecast, and the share that was late."""
    group = pd.Series(probability).rank(method="first").sub(1).mul(BINS).floordiv(len(probability)).astype(int)
    return pd.DataFrame({"probability": probability, "late": late}).groupby(group.to_numpy()).agg(
        flights=("late", "size"), forecast=("probability", "mean"), observed=("late", "mean")
    )  # fmt: skip


def measure(late: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """The metrics by name.

    `brier_skill` is the part of the squared error that goes away against always forecasting the share of late flights (0 is no better, 1 is
    perfect), `calibration_error` the mean distance between forecast and observed share over the ten groups.
    """
    share = float(late.mean())
    groups = calibration(late, probability)
    brier = float(brier_score_loss(late, probability))
    return {
        "flights": float(len(late)),
        "late_share": share,
        "roc_auc": float(roc_auc_score(late, probability)),
        "average_precision": float(average_precision_score(late, probability)),
        "log_loss": float(log_loss(late, probability)),
        "brier": brier,
        "brier_skill": 1 - brier / (share * (1 - share)),
        "calibration_error": float((groups["forecast"] - groups["observed"]).abs().mul(groups["flights"]).sum() / len(late)),
    }


def confusion(late: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Flights by what came true and what was said, where *late* is said of every flight that is likelier late than the average one."""
    said = probability > late.mean()
    names = {False: "on time", True: "late"}
    return {
        f"confusion/{true_name}/{said_name}": float(((late == true) & (said == told)).sum())
        for true, true_name in names.items()
        for told, said_name in names.items()
    }


def slices(flights: pd.DataFrame, late: np.ndarray, probability: np.ndarray) -> list[dict[str, object]]:
    """Forecast and truth by origin, carrier and hour of departure: whom does the model serve badly? ROC AUC where both outcomes occur."""
    table = flights.assign(late=late, probability=probability, hour=flights["sched_dep_time"] // 100)
    found: list[dict[str, object]] = []
    for column in ("origin", "carrier", "hour"):
        for value, part in table.groupby(column):
            area = roc_auc_score(part["late"], part["probability"]) if part["late"].nunique() == 2 else None
            shares = {"forecast": float(part["probability"].mean()), "observed": float(part["late"].mean())}
            found.append({"column": column, "value": value, "flights": len(part), **shares, "roc_auc": area})
    return found


def draw(late: np.ndarray, probability: np.ndarray, file: Path) -> None:
    """Draws calibration and ROC side by side."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    groups = calibration(late, probability)
    top = float(groups[["forecast", "observed"]].max().max()) * 1.05
    left.plot([0, top], [0, top], color="0.7", linestyle="--")
    left.plot(groups["forecast"], groups["observed"], marker="o")
    left.set(title="Calibration", xlabel="forecast probability of being late", ylabel="share that was late", xlim=(0, top), ylim=(0, top))
    missed, hit, _ = roc_curve(late, probability)
    right.plot([0, 1], [0, 1], color="0.7", linestyle="--")
    right.plot(missed, hit)
    right.set(title="ROC", xlabel="share of punctual flights called late", ylabel="share of late flights found", xlim=(0, 1), ylim=(0, 1))
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test", type=Path, required=True, help="folder with flights.parquet, the held-out part")
    parser.add_argument("--model", type=Path, required=True, help="folder of the MLflow model")
    parser.add_argument("--report", type=Path, required=True, help="folder to write metrics.json, slices.json and curves.png to")
    arguments = parser.parse_args()

    table = pd.read_parquet(arguments.test / "flights.parquet")
    flights, late = table.drop(columns=LABEL), table[LABEL].to_numpy()
    with mlflow.start_run():
        probability = mlflow.sklearn.load_model(str(arguments.model)).predict_proba(flights)[:, 1]
        metrics = measure(late, probability) | confusion(late, probability)
        mlflow.log_metrics(metrics)
        arguments.report.mkdir(parents=True, exist_ok=True)
        (arguments.report / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        (arguments.report / "slices.json").write_text(json.dumps(slices(flights, late, probability), indent=2) + "\n")
        draw(late, probability, arguments.report / "curves.png")
        mlflow.log_artifacts(str(arguments.report), "report")
    print("\n".join(f"{name:26} {value:.4f}" for name, value in metrics.items()))


if __name__ == "__main__":
    main()
