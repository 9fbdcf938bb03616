"""What operators see: logs, metrics, traces, and the request that they belong to."""
