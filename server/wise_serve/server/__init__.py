"""uvicorn with what this server needs of it: signals and drain, sockets, limits on heads."""
