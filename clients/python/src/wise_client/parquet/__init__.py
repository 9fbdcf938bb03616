"""Answers as Parquet: a row a pair, in files that are whole or not there."""
