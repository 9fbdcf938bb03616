"""The command line, `wise-segment`."""
