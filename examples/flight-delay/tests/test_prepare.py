from __future__ import annotations

from pathlib import Path

import pandas as pd
import prepare
import pytest


def hours(*texts: str) -> pd.Series:
    return pd.to_datetime(pd.Series(texts), utc=True)


def flight(**changes: object) -> dict[str, object]:
    made = {"time_hour": pd.Timestamp("2013-03-04T15:00Z"), "month": 3, "day": 4, "sched_dep_time": 1030, "sched_arr_time": 1300}
    return {**made, "arr_delay": 0.0, "carrier": "UA", "flight": 1, "origin": "EWR", "dest": "IAH", **changes}


def observations() -> pd.DataFrame:
    when = hours("2013-03-04T14:00Z", "2013-03-04T15:00Z", "2013-03-04T14:00Z")
    made = pd.DataFrame({"time_hour": when, "origin": ["EWR", "EWR", "JFK"], "temp": [30.0, 40.0, 50.0], "wind_speed": [5.0, 5.0, 1048.4]})
    return made.assign(humid=60.0, precip=0.0, pressure=1000.0, visib=10.0, dewp=1.0)


@pytest.mark.parametrize(("delay", "late"), [(-20, 0), (0, 0), (14, 0), (15, 1), (300, 1)])
def test_late_begins_at_the_given_minute(delay: float, late: int) -> None:
    assert prepare.with_label(pd.DataFrame([flight(arr_delay=delay)]), 15)["late"].tolist() == [late]


def test_flights_that_never_arrived_are_left_out() -> None:
    table = prepare.with_label(pd.DataFrame([flight(), flight(arr_delay=None)]), 15)
    assert len(table) == 1


def test_monday_is_the_first_day_of_the_week() -> None:
    table = prepare.with_label(pd.DataFrame([flight(), flight(day=10)]), 15)
    assert table["weekday"].tolist() == [1, 7]


def test_the_weather_is_the_origins_an_hour_before() -> None:
    table = prepare.with_weather(pd.DataFrame([flight(), flight(origin="JFK"), flight(origin="LGA")]), observations(), 1)
    assert table["temp"].tolist()[:2] == [30.0, 50.0]
    assert pd.isna(table["temp"][2])


def test_the_lag_moves_the_observation() -> None:
    assert prepare.with_weather(pd.DataFrame([flight()]), observations(), 0)["temp"].tolist() == [40.0]
    assert prepare.with_weather(pd.DataFrame([flight()]), observations(), 3)["temp"].isna().all()


def test_a_wind_that_cannot_be_is_no_reading() -> None:
    assert prepare.with_weather(pd.DataFrame([flight(origin="JFK")]), observations(), 1)["wind_speed"].isna().all()


def test_two_observations_for_one_hour_are_an_error() -> None:
    twice = pd.concat([observations(), observations()])
    with pytest.raises(pd.errors.MergeError):
        prepare.with_weather(pd.DataFrame([flight()]), twice, 1)


def test_the_split_is_by_date() -> None:
    table = prepare.with_label(pd.DataFrame([flight(day=day) for day in (1, 2, 3, 4)]), 15)
    train, test = prepare.split(table, "2013-03-03")
    assert (train["day"].tolist(), test["day"].tolist()) == ([1, 2], [3, 4])


@pytest.mark.parametrize("test_from", ["2013-01-01", "2014-01-01"])
def test_a_split_that_leaves_nothing_is_refused(test_from: str) -> None:
    table = prepare.with_label(pd.DataFrame([flight()]), 15)
    with pytest.raises(SystemExit, match=f"test_from {test_from} leaves"):
        prepare.split(table, test_from)


def test_nothing_that_is_known_only_later_is_written(prepared: Path) -> None:
    columns = set(pd.read_parquet(prepared / "train" / "flights.parquet").columns)
    assert columns == {*prepare.SCHEDULE, *prepare.WEATHER, "late"}


def test_the_same_input_makes_the_same_bytes(flights: pd.DataFrame, weather: pd.DataFrame, tmp_path: Path) -> None:
    for name in ("one", "two"):
        table = prepare.with_weather(prepare.with_label(flights.head(2000), 15), weather, 1)
        prepare.write(table, tmp_path / name)
    assert (tmp_path / "one" / "flights.parquet").read_bytes() == (tmp_path / "two" / "flights.parquet").read_bytes()


def test_the_whole_script(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare.py", "--flights", project / "data" / "flights", "--train", tmp_path / "train", "--test", tmp_path / "test"]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    prepare.main()
    train, test = (pd.read_parquet(tmp_path / part / "flights.parquet") for part in ("train", "test"))
    assert (len(train), len(test)) == (273_355, 53_991)
    assert "2013-11-01 to 2013-12-31" in capsys.readouterr().out
