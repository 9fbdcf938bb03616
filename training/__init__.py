"""Training of the packaged miniature models. Not part of the server's wheel."""
