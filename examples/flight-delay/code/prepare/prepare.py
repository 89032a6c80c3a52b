"""Joins flights with the weather an hour before, says which of them were late, and splits them by date.

Nothing that is known only after the doors close gets in: no departure delay, no air time, and the weather is the observation that was there
`weather_lag_hours` before the hour of departure, so that the model can be asked then.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

SCHEDULE = ["carrier", "origin", "dest", "weekday", "sched_dep_time", "sched_arr_time"]
WEATHER = ["temp", "humid", "wind_speed", "precip", "pressure", "visib"]
YEAR = 2013
FASTEST_WIND = 200  # miles an hour; a reading above it is a broken sensor: one station reports 1,048 for an hour of February


def with_label(flights: pd.DataFrame, late_minutes: int) -> pd.DataFrame:
    """The flights that arrived, with `date`, `weekday` (1 is Monday) and `late`: whether they came that long after schedule or longer.

    Cancelled and diverted flights have no arrival delay and are left out.
    """
    arrived = flights[flights["arr_delay"].notna()].copy()
    arrived["date"] = pd.to_datetime(arrived[["month", "day"]].assign(year=YEAR))
    arrived["weekday"] = arrived["date"].dt.dayofweek + 1
    arrived["late"] = (arrived["arr_delay"] >= late_minutes).astype("int8")
    return arrived


def with_weather(flights: pd.DataFrame, weather: pd.DataFrame, lag_hours: int) -> pd.DataFrame:
    """The flights with the weather at their origin so many hours before the hour of scheduled departure; empty where no observation is."""
    earlier = weather[["origin", "time_hour", *WEATHER]].copy()
    earlier.loc[earlier["wind_speed"] > FASTEST_WIND, "wind_speed"] = None
    earlier["time_hour"] += pd.Timedelta(hours=lag_hours)
    return flights.merge(earlier, on=["origin", "time_hour"], how="left", validate="many_to_one")


def split(flights: pd.DataFrame, test_from: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What came before a date (YYYY-MM-DD) and what came from it on: a model is always asked about days that it has not seen."""
    before = flights["date"] < pd.Timestamp(test_from)
    train, test = flights[before], flights[~before]
    if train.empty or test.empty:
        first, last = flights["date"].min(), flights["date"].max()
        counts = f"{len(train)} flights to train and {len(test)} to test"
        raise SystemExit(f"test_from {test_from} leaves {counts}; give a date after {first:%F}, up to {last:%F}")
    return train, test


def write(table: pd.DataFrame, folder: Path) -> None:
    """Writes the model's columns and the label to flights.parquet in a folder that is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    table[[*SCHEDULE, *WEATHER, "late"]].to_parquet(folder / "flights.parquet", index=False)
    print(f"{folder}: {len(table):,} flights from {table['date'].min():%F} to {table['date'].max():%F}, {table['late'].mean():.1%} late")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flights", type=Path, required=True, help="folder with flights.parquet and weather.parquet")
    parser.add_argument("--late-minutes", type=int, default=15, help="minutes after schedule from which an arrival is late")
    parser.add_argument("--weather-lag-hours", type=int, default=1, help="hours between the observation and the hour of departure")
    parser.add_argument("--test-from", default="2013-11-01", help="first day of the held-out part")
    parser.add_argument("--train", type=Path, required=True, help="folder to write the training part to")
    parser.add_argument("--test", type=Path, required=True, help="folder to write the held-out part to")
    arguments = parser.parse_args()

    flights = with_label(pd.read_parquet(arguments.flights / "flights.parquet"), arguments.late_minutes)
    joined = with_weather(flights, pd.read_parquet(arguments.flights / "weather.parquet"), arguments.weather_lag_hours)
    print(f"{joined['temp'].notna().mean():.1%} of {len(joined):,} flights have weather")
    train, test = split(joined, arguments.test_from)
    write(train, arguments.train)
    write(test, arguments.test)


if __name__ == "__main__":
    main()
