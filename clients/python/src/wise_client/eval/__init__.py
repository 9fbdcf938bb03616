"""Evaluation of a running server on a labelled dataset: readers, scores, reports.

`wise-segment eval` is the way in; `docs/evaluation.md` says what the figures mean.
"""
