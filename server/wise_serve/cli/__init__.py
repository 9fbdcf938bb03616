"""The command line `wise-serve`: its commands, and flags made from the settings."""
