"""The gateway's side of the segmenter: starts, watches and asks the worker process."""
