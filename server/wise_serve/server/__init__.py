"""uvicorn with this server's additions: signals and drain, sockets, limits on heads."""
