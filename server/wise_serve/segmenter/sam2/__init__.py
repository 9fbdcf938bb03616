"""SAM 2 on a torch device, in batches that join the work of several requests."""
