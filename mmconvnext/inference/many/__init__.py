"""Predictions of very many pictures, as Parquet files, by one machine or several."""
